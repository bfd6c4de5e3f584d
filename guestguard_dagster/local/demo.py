"""The demo: one event, its guests and reminders, and one broadcast that leaves on time by the real sensor and job."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from guestguard_dagster.domain.deliveries import HANDED_OFF_STATUSES, Recipient
from guestguard_dagster.domain.events import Event, EventDraft, Guest, GuestDraft, RsvpStatus, User
from guestguard_dagster.domain.messages import (
    Message,
    MessageAudience,
    MessageChannel,
    MessageDraft,
    MessageKind,
    MessageStatus,
)
from guestguard_dagster.local.console import dim, tell
from guestguard_dagster.local.demo_events import show_events
from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.mail_store import MailSummary
from guestguard_dagster.local.stack import Stack
from guestguard_dagster.rendering.dates import format_date
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster.storage.people.users import UserRepo

# The sensor looks every 30 seconds and a run takes some to start: then it waits for the second that was asked for.
_DUE_IN = timedelta(seconds=45)
_PATIENCE = timedelta(minutes=4)
_LOOK_SECONDS = 0.25
_ZONE = "Europe/Berlin"

_GUESTS = (
    GuestDraft("Amira", "amira@example.com", rsvp_status=RsvpStatus.ATTENDING),
    GuestDraft("Ben", "ben@example.com", rsvp_status=RsvpStatus.ATTENDING),
    GuestDraft("Chiara", "chiara@example.com", rsvp_status=RsvpStatus.PENDING),
    GuestDraft("Deniz", "deniz@example.com", rsvp_status=RsvpStatus.PENDING),
    GuestDraft("Eva", "eva@example.com", rsvp_status=RsvpStatus.MAYBE),
    GuestDraft("Farid", "farid@example.com", rsvp_status=RsvpStatus.DECLINED),
)
_SUBJECT = "News about {{event_name}}"
_BODY = """\
Hi {{guest_name}},

the garden opens half an hour early: come for a drink before {{event_name}} begins.

When: {{event_date}}
Where: {{venue}}

Have your plans changed? Your answer is one tap away:

{{rsvp_link}}

See you soon!
"""


@dataclass(frozen=True, slots=True)
class Party:
    host: User
    event: Event
    guests: list[Guest]
    broadcast: Message


def run_demo_on(stack: Stack) -> None:
    """Show it on a stack that is up. Raises LocalServiceError, with the reason, when a mail did not arrive."""
    with Database(stack.environ["DATABASE_URL"], application_name="guestguard-demo") as database:
        mails_before = stack.require_mail().store.newest_id
        party = invite(database)
        _show_event(party)
        _show_reminders(party.event, MessageRepo(database).list_by_event(party.event.id))
        _show_broadcast(party.broadcast)
        message = _wait_until_sent(stack, database, party.broadcast.id)
        recipients = list(MessageRepo(database).load_recipients(message.id))
        _show_deliveries(recipients, RunRepo(database).runs_of(message.id))
        mails = _wait_for_mails(stack, recipients, after=mails_before)
        _show_mails(message, mails)
        check_arrivals(message, recipients, mails)
        show_events(stack, database, host=party.host, event=party.event, guests=party.guests[2:])
        tell(f"\nIt works: {len(mails)} of {len(recipients)} mails arrived.", bold=True, colour="green")
        tell("Each event on NATS was answered by its mail.", bold=True, colour="green")


def invite(database: Database) -> Party:
    """Create the event with its host and guests, and the broadcast."""
    host = UserRepo(database).get_or_create(email="host@example.com", name="Robin")
    starts_at = database.now().replace(hour=16, minute=30, second=0, microsecond=0) + timedelta(days=10)
    draft = EventDraft("Summer Garden Party", "The Orangery, Potsdam", starts_at, _ZONE, starts_at + timedelta(hours=5))
    event = EventRepo(database).create(draft, host.id)
    guests = GuestRepo(database).add_many(event.id, _GUESTS)
    broadcast = MessageRepo(database).create(
        MessageDraft(
            event_id=event.id,
            channel=MessageChannel.EMAIL,
            audience=MessageAudience.EVERYONE,
            subject=_SUBJECT,
            body=_BODY,
            send_at=database.now() + _DUE_IN,
            created_by=host.id,
        )
    )
    return Party(host, event, guests, broadcast)


def _show_event(party: Party) -> None:
    _heading("An event")
    event = party.event
    tell(f"  {event.name}, {format_date(event.starts_at, event.zone)} ({event.timezone}), {event.venue}")
    tell(f"  Host: {party.host.name}")
    for status in RsvpStatus:
        names = [guest.name for guest in party.guests if guest.rsvp_status is status]
        tell(f"  {status.value.capitalize() + ':':<11} {', '.join(names)}")


def _show_reminders(event: Event, messages: Sequence[Message]) -> None:
    _heading("Four reminders that it got by itself")
    for message in messages:
        if message.kind is not MessageKind.BROADCAST and message.send_at is not None:
            when = format_date(message.send_at, event.zone)
            tell(f"  {when}   {message.kind.label:<16} to {message.audience.value:<10} {dim(message.status.value)}")


def _show_broadcast(broadcast: Message) -> None:
    _heading("A broadcast that the host scheduled")
    due = _clock(broadcast.send_at)
    tell(f"  To everyone, due at {due}, in {_DUE_IN.seconds} seconds. The sensor looks twice a minute and")
    tell("  launches the run a little early, so that the mail leaves in the second that was asked for.")
    tell()


def _wait_until_sent(stack: Stack, database: Database, message_id: UUID) -> Message:
    messages, runs = MessageRepo(database), RunRepo(database)
    deadline = time.monotonic() + (_DUE_IN + _PATIENCE).total_seconds()
    shown = ""
    while time.monotonic() < deadline:
        message = messages.get(message_id)
        progress = _progress(message, runs.runs_of(message_id))
        if progress != shown:
            tell(f"  {_clock(database.now())}  {progress}")
            shown = progress
        if message.status not in (MessageStatus.SCHEDULED, MessageStatus.SENDING):
            return message
        if (sentence := stack.what_stopped()) is not None:
            raise LocalServiceError(sentence)
        time.sleep(_LOOK_SECONDS)
    raise LocalServiceError(
        f"the broadcast was not sent within {int(_PATIENCE.total_seconds())} seconds of its time, "
        f"it is still at: {shown} (logs are in {stack.data_folder / 'logs'})"
    )


def _progress(message: Message, run_ids: Sequence[str]) -> str:
    if message.waiting_reason or message.held_reason:
        return f"waiting: {message.waiting_reason or message.held_reason}"
    if message.status is MessageStatus.SCHEDULED:
        if run_ids:
            return f"run {run_ids[-1][:8]} is there and waits for the second"
        return "the sensor requested a run" if message.ask_no else "waiting for the sensor"
    return {MessageStatus.SENDING: "sending", MessageStatus.SENT: "sent"}.get(
        message.status, f"{message.status.value}: {message.status_reason}"
    )


def _wait_for_mails(stack: Stack, recipients: Sequence[Recipient], *, after: int) -> dict[str, MailSummary]:
    """The newest mail of each recipient since then, by address. Waits a little for the last ones."""
    wanted = {recipient.email for recipient in recipients if recipient.email}
    deadline = time.monotonic() + 10
    while True:
        found = {mail.to[0]: mail for mail in stack.require_mail().store.newest_first(after=after) if mail.to}
        if wanted <= found.keys() or time.monotonic() > deadline:
            return {address: found[address] for address in sorted(wanted & found.keys())}
        time.sleep(_LOOK_SECONDS)


def _show_deliveries(recipients: Sequence[Recipient], run_ids: Sequence[str]) -> None:
    _heading(f"{len(recipients)} deliveries by run {', '.join(run_ids)}")
    for recipient in sorted(recipients, key=lambda each: each.name):
        reason = f" ({recipient.reason})" if recipient.reason else ""
        tell(f"  {recipient.name:<8} {dim(f'{recipient.rsvp_status.value:<10}')} {recipient.status.value}{reason}")


def _show_mails(message: Message, mails: dict[str, MailSummary]) -> None:
    _heading(f"{len(mails)} mails arrived at the mail catcher")
    for address, mail in mails.items():
        tell(f"  {address:<20} {mail.subject}  {dim(mail.sender)}")
    if mails and message.send_at is not None:
        late = (min(mail.received_at for mail in mails.values()) - message.send_at).total_seconds()
        tell(f"\n  The first one {late:.2f} seconds after the time that was asked for.")


def check_arrivals(message: Message, recipients: Sequence[Recipient], mails: dict[str, MailSummary]) -> None:
    """Raises LocalServiceError, with the reason, unless every guest of the demo has a mail."""
    if message.status is not MessageStatus.SENT:
        raise LocalServiceError(f"the broadcast ended {message.status.value}: {message.status_reason}")
    unsent = [each.name for each in recipients if each.status not in HANDED_OFF_STATUSES]
    missing = [each.name for each in recipients if each.email not in mails]
    if len(recipients) != len(_GUESTS) or unsent or missing:
        raise LocalServiceError(
            f"{len(_GUESTS)} guests should have a mail; {len(recipients)} were written down, "
            f"not sent: {', '.join(unsent) or 'none'}, not arrived: {', '.join(missing) or 'none'}"
        )


def _heading(text: str) -> None:
    tell()
    tell(text, bold=True)


def _clock(moment: datetime | None) -> str:
    """The time of day on this machine's clock."""
    return moment.astimezone().strftime("%H:%M:%S") if moment else "-"
