"""The demo's second half: one event of each type on NATS, and the mail that answers to it."""

import json
import time
from typing import Any

from guestguard_dagster.domain.events import Event, Guest, User
from guestguard_dagster.local.console import dim, tell
from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.mail_store import MailSummary
from guestguard_dagster.local.publish import find_party
from guestguard_dagster.local.stack import Stack
from guestguard_dagster.notifications.definition import NotificationDefinition, Recipient
from guestguard_dagster.notifications.registry import DEFINITIONS, declare_stream
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.notifications.repo import NotificationRepo
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.jetstream import JetStream

_PATIENCE_SECONDS = 120
_LOOK_SECONDS = 0.25


def show_events(stack: Stack, database: Database, *, host: User, event: Event, guests: list[Guest]) -> None:
    """Publish one event of each type, and show the mails. Raises LocalServiceError when one did not arrive."""
    mails_before = stack.require_mail().store.newest_id
    about = dict(zip(DEFINITIONS, guests, strict=False))
    subjects = _publish(stack, database, event, about)
    tell()
    tell(f"{len(about)} events on NATS, as the Go services publish them", bold=True)
    for definition, guest in about.items():
        tell(f"  {subjects[definition.type]:<28} about {guest.name}")
    tell("  The sensor looks every five seconds and launches one run for each type.")
    started = time.monotonic()
    wanted = {
        definition.type: host.email if definition.recipient is Recipient.HOST else guest.email
        for definition, guest in about.items()
    }
    mails = _wait_for_mails(stack, {address for address in wanted.values() if address}, after=mails_before)
    tell()
    tell(f"{len(mails)} mails answered to them, after {time.monotonic() - started:.1f} seconds", bold=True)
    for address, mail in mails.items():
        tell(f"  {address:<20} {mail.subject}  {dim(mail.sender)}")
    missing = [kind for kind, address in wanted.items() if address not in mails]
    if missing:
        raise LocalServiceError(f"no mail answered to: {', '.join(missing)}{_why(database, event)}")


def _publish(
    stack: Stack, database: Database, event: Event, about: dict[NotificationDefinition[Any], Guest]
) -> dict[str, str]:
    settings = Settings.model_validate({"nats_url": stack.environ["NATS_URL"]})
    with JetStream(NatsAccess.from_settings(settings), declare_stream(settings)) as stream:
        stream.survey()
        for definition, guest in about.items():
            party = find_party(database, event_id=event.id, guest_id=guest.id)
            stream.publish(definition.type, json.dumps(definition.sample(party)).encode())
        return {kind: consumer.subject for kind, consumer in stream.declaration.consumers.items()}


def _wait_for_mails(stack: Stack, addresses: set[str], *, after: int) -> dict[str, MailSummary]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        found = {mail.to[0]: mail for mail in stack.require_mail().store.newest_first(after=after) if mail.to}
        if addresses <= found.keys() or time.monotonic() > deadline:
            return {address: found[address] for address in sorted(addresses & found.keys())}
        if (sentence := stack.what_stopped()) is not None:
            raise LocalServiceError(sentence)
        time.sleep(_LOOK_SECONDS)


def _why(database: Database, event: Event) -> str:
    known = NotificationRepo(database).list_by_event(event.id)
    states = ", ".join(f"{notification.type}: {notification.status}" for notification in known)
    return f" ({states})" if states else " (the events were not received)"
