"""The four reminders that every event gets by itself: their texts, their times, and what becomes of them when it moves.

Pure rules. Storage writes what they say, in the transaction that creates or moves the event.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.local_time import instant_of
from guestguard_dagster.domain.messages import (
    CancelReason,
    Message,
    MessageAudience,
    MessageChannel,
    MessageDraft,
    MessageKind,
    MessageStatus,
)

_DAY_OF_HOUR = 9
_EARLY_START = time(11, 0)
_BEFORE_EARLY_START = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class ReminderRule:
    """One reminder: for whom, with which words, and how many days before the event (0: the day itself)."""

    days_before: int
    audience: MessageAudience
    subject: str
    body: str


REMINDER_RULES: Mapping[MessageKind, ReminderRule] = {
    MessageKind.REMINDER_7_DAY: ReminderRule(
        days_before=7,
        audience=MessageAudience.PENDING,
        subject="One week to go: will you join us at {{event_name}}?",
        body="""\
Hi {{guest_name}},

{{event_name}} is only a week away, and we would love to have you with us.

Can you make it? Your answer takes one tap, and it helps us to plan:

{{rsvp_link}}

Not sure yet? Answer “maybe” for now. You can change your mind at any time with the same link.

We hope to see you there!
""",
    ),
    MessageKind.REMINDER_3_DAY_LAST_CALL: ReminderRule(
        days_before=3,
        audience=MessageAudience.PENDING,
        subject="Last call: please reply for {{event_name}}",
        body="""\
Hi {{guest_name}},

{{event_name}} is three days away, and the guest list is about to close. We have not heard from you yet, and there is \
still a place with your name on it.

Please let us know today whether to expect you:

{{rsvp_link}}

Either answer helps. If you cannot come this time, a quick “no” is just as welcome.
""",
    ),
    MessageKind.REMINDER_1_DAY: ReminderRule(
        days_before=1,
        audience=MessageAudience.ATTENDING,
        subject="See you tomorrow at {{event_name}}",
        body="""\
Hi {{guest_name}},

Tomorrow is the day! You are on the guest list for {{event_name}}, and we are looking forward to seeing you.

We start on {{event_date}}. Please plan your trip so that you arrive with a few minutes to spare.

Have your plans changed? Tell us now, so that your place can go to someone else:

{{rsvp_link}}

See you tomorrow!
""",
    ),
    MessageKind.REMINDER_DAY_OF: ReminderRule(
        days_before=0,
        audience=MessageAudience.ATTENDING,
        subject="It is nearly time: {{event_name}}",
        body="""\
Hi {{guest_name}},

The wait is almost over: {{event_name}} starts soon, and everything is ready for you at {{venue}}.

Allow a little extra time to get here, and keep this message at hand when you arrive.

Something came up and you cannot make it after all? Let us know here:

{{rsvp_link}}

Have a wonderful time!
""",
    ),
}


def reminder_time(kind: MessageKind, starts_at: datetime, zone: ZoneInfo) -> datetime:
    """When this reminder leaves, in UTC, by the clock of the event's zone.

    The same local time 7, 3 or 1 days before; on the day itself 09:00, or two hours before a start that is before
    11:00. A local time that a clock change leaves out moves forward by the gap; of one that happens twice, the first
    is meant.
    """
    days = REMINDER_RULES[kind].days_before
    if days:
        return _days_before(starts_at, days, zone)
    local_start = starts_at.astimezone(zone)
    if local_start.time() < _EARLY_START:
        return starts_at.astimezone(UTC) - _BEFORE_EARLY_START
    return instant_of(local_start.replace(hour=_DAY_OF_HOUR, minute=0, second=0, microsecond=0))


def words_hold(kind: MessageKind, send_at: datetime, event: Event, at: datetime) -> bool:
    """Whether the words of a message that is meant for `send_at` are still true at `at`. A broadcast's always are.

    A reminder says "tomorrow" or "a week away": that holds on the day of its send_at, by the clock of the event's zone.
    The reminder of the day itself speaks of the event's day, also where it leaves the evening before an early start.
    """
    if kind is MessageKind.BROADCAST or at <= send_at:
        return True
    last_day = send_at.astimezone(event.zone).date()
    if REMINDER_RULES[kind].days_before == 0:
        last_day = max(last_day, event.starts_at.astimezone(event.zone).date())
    return at.astimezone(event.zone).date() <= last_day


def too_late(kind: MessageKind, send_at: datetime, event: Event, at: datetime) -> CancelReason | None:
    """Why a message that is meant for `send_at` must not leave at `at` any more; None when it may.

    What was meant to leave before the event's start does not leave after it, and a reminder only while its words hold.
    """
    if send_at < event.starts_at <= at:
        return CancelReason.EVENT_STARTED
    return None if words_hold(kind, send_at, event, at) else CancelReason.TIME_PASSED


def seed_auto_reminders(event: Event, now: datetime) -> list[MessageDraft]:
    """The reminders of a new event, in the order they leave, without those whose time is already past."""
    return [
        _draft(event, kind, send_at)
        for kind in REMINDER_RULES
        if _may_still_leave(send_at := reminder_time(kind, event.starts_at, event.zone), event, now)
    ]


@dataclass(frozen=True, slots=True)
class CreateReminder:
    """A reminder that this event has no row for: it was skipped before, now its time lies ahead."""

    draft: MessageDraft


@dataclass(frozen=True, slots=True)
class RescheduleReminder:
    """An unsent reminder leaves at `send_at` instead; status and text stay."""

    message_id: UUID
    send_at: datetime


@dataclass(frozen=True, slots=True)
class RearmReminder:
    """A reminder that became `cancelled` only because its time ran out is `scheduled` again, for `send_at`."""

    message_id: UUID
    send_at: datetime


@dataclass(frozen=True, slots=True)
class ExpireReminder:
    """An unsent reminder becomes, or stays, `cancelled` for `reason`. A later move counts from the new `send_at`."""

    message_id: UUID
    send_at: datetime
    reason: CancelReason


ReminderChange: TypeAlias = CreateReminder | RescheduleReminder | RearmReminder | ExpireReminder

# Nobody decided against these: they never left because there was no time for them.
_RAN_OUT_OF_TIME = frozenset({CancelReason.EVENT_STARTED, CancelReason.TIME_PASSED})


def plan_event_move(before: Event, after: Event, messages: Iterable[Message], now: datetime) -> list[ReminderChange]:
    """What moving an event (its start, its zone) does to its reminders. Broadcasts among `messages` are left alone.

    - An unsent reminder moves along. One that the host re-timed keeps its distance to the start.
    - A new time that is past already: the reminder leaves at once while its words hold (`words_hold`); after that it
      becomes `cancelled`, reason `time_passed`.
    - What could only leave after the start becomes `cancelled`, reason `event_started`.
    - One that was cancelled for one of these two reasons never left: it is armed again as soon as they do not hold.
    - One that was skipped when the event was created is created, if its time now lies ahead.
    - Sent, sending and failed ones, and those that the host cancelled, stay as they are; so does everything of a
      cancelled event. A draft follows the event, and stays a draft.
    """
    if after.cancelled_at is not None:
        return []
    reminders: dict[MessageKind, Message] = {message.kind: message for message in messages}
    changes: list[ReminderChange] = []
    for kind in REMINDER_RULES:
        message = reminders.get(kind)
        if message is None:
            send_at = reminder_time(kind, after.starts_at, after.zone)
            change: ReminderChange | None = (
                CreateReminder(_draft(after, kind, send_at)) if _may_still_leave(send_at, after, now) else None
            )
        else:
            change = _change_of(message, before, after, now)
        if change is not None:
            changes.append(change)
    return changes


def _change_of(message: Message, before: Event, after: Event, now: datetime) -> ReminderChange | None:
    if message.send_at is None:
        return None
    if message.send_at_is_custom:
        send_at = _at_same_distance(message.send_at, before, after)
    else:
        send_at = reminder_time(message.kind, after.starts_at, after.zone)

    ran_out_of_time = message.status is MessageStatus.CANCELLED and message.status_reason in _RAN_OUT_OF_TIME
    if message.status is MessageStatus.SCHEDULED or ran_out_of_time:
        # A reminder moves with its event, so one that would leave after the start was never meant so.
        reason = (
            CancelReason.EVENT_STARTED
            if send_at >= after.starts_at
            else too_late(message.kind, send_at, after, max(send_at, now))
        )
        if reason is not None:
            is_known = (message.send_at, message.status_reason) == (send_at, reason)
            return None if is_known else ExpireReminder(message.id, send_at, reason)
        if ran_out_of_time:
            return RearmReminder(message.id, send_at)
    elif message.status is not MessageStatus.DRAFT:
        return None
    return RescheduleReminder(message.id, send_at) if send_at != message.send_at else None


def _draft(event: Event, kind: MessageKind, send_at: datetime) -> MessageDraft:
    rule = REMINDER_RULES[kind]
    return MessageDraft(
        event_id=event.id,
        kind=kind,
        channel=MessageChannel.EMAIL,
        audience=rule.audience,
        subject=rule.subject,
        body=rule.body,
        send_at=send_at,
    )


def _may_still_leave(send_at: datetime, event: Event, now: datetime) -> bool:
    return event.cancelled_at is None and now < send_at < event.starts_at


def _at_same_distance(send_at: datetime, before: Event, after: Event) -> datetime:
    """Whole days of the distance are counted on the event's clock, as a host would; what remains is elapsed time."""
    local_start, local_send_at = before.starts_at.astimezone(before.zone), send_at.astimezone(before.zone)
    days = (local_start.replace(tzinfo=None) - local_send_at.replace(tzinfo=None)).days
    remainder = _days_before(before.starts_at, days, before.zone) - send_at
    return _days_before(after.starts_at, days, after.zone) - remainder


def _days_before(starts_at: datetime, days: int, zone: ZoneInfo) -> datetime:
    if days == 0:
        return starts_at.astimezone(UTC)
    return instant_of(starts_at.astimezone(zone) - timedelta(days=days))
