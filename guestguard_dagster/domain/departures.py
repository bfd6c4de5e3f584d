"""When a message may leave: the rules that the claim, the hand-off and a retry ask, each standing here once.

Pure. They look at a message, its event, and the instant by the database's clock at which both were read.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import CancelReason, Message, MessageStatus, MessageTimes
from guestguard_dagster.domain.reminders import too_late, words_hold


class RetryObstacle(StrEnum):
    """Why nothing of a message can be tried again, as an operator reads it."""

    NOT_SENT_YET = "it was not sent yet"
    STILL_SENDING = "it is still being sent"
    EVENT_CANCELLED = "its event is cancelled"
    EVENT_STARTED = "its event has started"
    TIME_PASSED = "its words no longer hold"


_TOO_LATE_TO_RETRY = {
    CancelReason.EVENT_STARTED: RetryObstacle.EVENT_STARTED,
    CancelReason.TIME_PASSED: RetryObstacle.TIME_PASSED,
}


class DepartureRules:
    """The rules, for whatever knows a message, its event, and when it read them."""

    __slots__ = ()

    message: Message | MessageTimes
    event: Event
    read_at: datetime

    @property
    def leaves_after_start(self) -> bool:
        """The host scheduled this message for the start or later, e.g. a thank-you."""
        return self.message.send_at is not None and self.message.send_at >= self.event.starts_at

    @property
    def words_have_expired(self) -> bool:
        """This reminder says "tomorrow", and tomorrow is over: what it says is no longer true."""
        send_at = self.message.send_at
        return send_at is not None and not words_hold(self.message.kind, send_at, self.event, self.read_at)

    @property
    def event_is_off(self) -> bool:
        """The event is cancelled, and the host did not ask that this message survives that."""
        return self.event.cancelled_at is not None and not self.message.survives_event_cancel

    @property
    def may_leave(self) -> bool:
        """The message is being sent, and nobody holds it."""
        return self.message.status is MessageStatus.SENDING and self.message.held_at is None

    @property
    def quiet_until(self) -> datetime | None:
        """When the event's quiet hours on this channel are over, if they are now."""
        return self.event.quiet_until(self.message.channel, self.read_at)

    @property
    def may_leave_now(self) -> bool:
        """It may leave, and disturbs nobody."""
        return self.may_leave and self.quiet_until is None

    def too_late_at(self, moment: datetime) -> CancelReason | None:
        """Why it must not leave at `moment` any more; None when it may."""
        send_at = self.message.send_at
        return None if send_at is None else too_late(self.message.kind, send_at, self.event, moment)

    @property
    def obstacle_to_retry(self) -> RetryObstacle | None:
        """Why its failed recipients cannot be tried again now; None when they can."""
        if self.message.status is MessageStatus.SENDING:
            return RetryObstacle.STILL_SENDING
        if self.message.status not in (MessageStatus.SENT, MessageStatus.FAILED):
            return RetryObstacle.NOT_SENT_YET
        if self.event_is_off:
            return RetryObstacle.EVENT_CANCELLED
        reason = self.too_late_at(self.read_at)
        return None if reason is None else _TOO_LATE_TO_RETRY[reason]


@dataclass(frozen=True, slots=True)
class Departure(DepartureRules):
    """A message without its text, and its event; `read_at` is the database's clock when they were read."""

    message: MessageTimes
    event: Event
    read_at: datetime

    @property
    def awaits_its_instant(self) -> bool:
        """It is scheduled, nobody holds it, and its event takes place."""
        message = self.message
        return (
            message.status is MessageStatus.SCHEDULED
            and message.send_at is not None
            and message.held_at is None
            and not self.event_is_off
        )

    @property
    def leaves_at(self) -> datetime:
        """The instant at which it leaves if nothing else keeps it; the present for one that is late."""
        moments = (self.message.send_at, self.message.not_before, self.read_at)
        return max(moment for moment in moments if moment is not None)
