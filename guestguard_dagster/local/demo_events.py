"""The demo's second half: one event of each type on NATS, and the mail that answers to it."""

import json
import time

from guestguard_dagster.domain.events import Event, Guest, User
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.local.console import dim, tell
from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.mail_store import MailSummary
from guestguard_dagster.local.publish import find_party, payload_of
from guestguard_dagster.local.stack import Stack
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.notifications.repo import NotificationRepo
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.jetstream import JetStream

_PATIENCE_SECONDS = 120
_LOOK_SECONDS = 0.25


def show_events(stack: Stack, database: Database, *, host: User, event: Event, guests: list[Guest]) -> None:
    """Publish one event of each type, and show the mails. Raises LocalServiceError when one did not arrive."""
    mails_before = stack.require_mail().store.newest_id
    about = dict(zip(NotificationType, guests, strict=False))
    subjects = _publish(stack, database, event, about)
    tell()
    tell("Three events on NATS, as the Go services publish them", bold=True)
    for kind, guest in about.items():
        tell(f"  {subjects[kind]:<28} about {guest.name}")
    tell("  The sensor looks every five seconds and launches one run for each type.")
    started = time.monotonic()
    wanted = {
        NotificationType.CONFIRMATION: about[NotificationType.CONFIRMATION].email,
        NotificationType.FRAUD_ALERT: host.email,
        NotificationType.INVITATION: about[NotificationType.INVITATION].email,
    }
    mails = _wait_for_mails(stack, {address for address in wanted.values() if address}, after=mails_before)
    tell()
    tell(f"{len(mails)} mails answered to them, after {time.monotonic() - started:.1f} seconds", bold=True)
    for address, mail in mails.items():
        tell(f"  {address:<20} {mail.subject}  {dim(mail.sender)}")
    missing = [kind.value for kind, address in wanted.items() if address not in mails]
    if missing:
        raise LocalServiceError(f"no mail answered to: {', '.join(missing)}{_why(database, event)}")


def _publish(
    stack: Stack, database: Database, event: Event, about: dict[NotificationType, Guest]
) -> dict[NotificationType, str]:
    settings = Settings.model_validate({"nats_url": stack.environ["NATS_URL"]})
    with JetStream(NatsAccess.from_settings(settings), StreamDeclaration.from_settings(settings)) as stream:
        stream.survey()
        for kind, guest in about.items():
            party = find_party(database, event_id=event.id, guest_id=guest.id)
            stream.publish(kind, json.dumps(payload_of(kind, party)).encode())
        return {kind: stream.declaration.consumers[kind].subject for kind in about}


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
