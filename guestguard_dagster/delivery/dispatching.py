"""The loop that hands off: lane by lane, small group by small group, round-robin across messages.

Nothing is collected: rows say what is left, so memory does not grow with the audience and a crash loses no more than
the knowledge of one group.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.audience import load_recipients
from guestguard_dagster.delivery.claiming import read_schedule
from guestguard_dagster.delivery.composing import Composer
from guestguard_dagster.delivery.lanes import Lane
from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.delivery.preflight import preflight
from guestguard_dagster.domain.messages import MessageChannel

_RENEW_EVERY = timedelta(seconds=15)
# A run does not hold its slot for a longer wait: the messages are put off, and asked for again.
_LONGEST_STAY = timedelta(seconds=45)
_LOOK_AGAIN = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class DispatchReport:
    """Recipients by what the hand-off said, over `seconds` of dispatching; `put_off` says why messages wait, if any."""

    outcomes: Counter[str]
    seconds: float
    put_off: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Recipients handed off per second."""
        return self.outcomes["sent"] / self.seconds if self.seconds > 0 else 0.0


def dispatch(room: Mailroom, message_ids: Sequence[UUID], stop: Event) -> DispatchReport:
    """Hand off everything that is due of these messages, until nothing is left or what is left has to wait.

    Messages of the run that were not due when it claimed are claimed here, at their instant.
    """
    return _Dispatch(room, message_ids, stop).run()


class _Dispatch:
    def __init__(self, room: Mailroom, message_ids: Sequence[UUID], stop: Event) -> None:
        self._room = room
        self._stop = stop
        self._composer = Composer(room)
        self._lanes: dict[MessageChannel, Lane] = {}
        # messages being sent, by channel, and those that still wait for their instant
        self._open: dict[UUID, MessageChannel] = {}
        self._waiting: set[UUID] = set(message_ids)
        self._next_due_at = 0.0
        self._renewed_at = 0.0
        self._put_off: Counter[str] = Counter()

    def run(self) -> DispatchReport:
        started = boot_seconds()
        try:
            while not self._stop.is_set():
                self._admit_due()
                self._renew()
                stepped = [lane.step() for lane in self._lanes.values()]
                if not any(stepped) and not self._rest():
                    break
        finally:
            for lane in self._lanes.values():
                lane.flush()
        outcomes = sum((lane.outcomes for lane in self._lanes.values()), Counter[str]())
        return DispatchReport(outcomes, boot_seconds() - started, dict(self._put_off))

    def _admit_due(self) -> None:
        if not self._waiting or boot_seconds() < self._next_due_at:
            return
        self._room.messages.claim_due(list(self._waiting))
        schedule = read_schedule(self._room, list(self._waiting))
        self._waiting = set(schedule.waiting)
        until_next = min(schedule.first_due_in or _LOOK_AGAIN, _LOOK_AGAIN)
        self._next_due_at = boot_seconds() + until_next.total_seconds()
        if not schedule.sending:
            return
        load_recipients(self._room, schedule.sending)
        preflight(self._room, schedule.sending, self._composer)
        for message_id, context in self._room.contexts.load(schedule.sending).items():
            channel = context.message.channel
            self._open[message_id] = channel
            if channel not in self._lanes:
                self._lanes[channel] = Lane(self._room, channel, self._composer, self._stop)
            self._lanes[channel].wake([message_id])
        for channel, lane in self._lanes.items():
            lane.recover([id for id in schedule.sending if self._open[id] is channel])

    def _renew(self) -> None:
        if boot_seconds() - self._renewed_at >= _RENEW_EVERY.total_seconds():
            self._renewed_at = boot_seconds()
            self._room.asks.renew([*self._open, *self._waiting])

    def _rest(self) -> bool:
        """No lane had a free row: put off what has to wait long, wait for the rest. False when nothing is left here."""
        for channel, lane in self._lanes.items():
            lane.flush()
            mine = [id for id, of in self._open.items() if of is channel]
            if lane.blocked is not None:
                self._leave(mine, lane.blocked.wait, lane.blocked.reason)
            else:
                lane.recover(mine)
        waits = self._wait_of_each()
        for message_id in self._open.keys() - waits.keys():
            del self._open[message_id]
        for message_id, wait in waits.items():
            if wait > _LONGEST_STAY:
                self._leave([message_id], wait, "waiting to try again")
            else:
                self._lanes[self._open[message_id]].wake([message_id])
        stay = [wait for message_id, wait in waits.items() if message_id in self._open]
        if self._waiting:
            stay.append(timedelta(seconds=max(self._next_due_at - boot_seconds(), 0)))
        if not stay:
            return False
        self._stop.wait(min(min(stay), _LOOK_AGAIN).total_seconds())
        return True

    def _wait_of_each(self) -> dict[UUID, timedelta]:
        """How long each open message with anything left, and free to be worked on, has nothing to do."""
        contexts = self._room.contexts.load(list(self._open))
        free = [id for id, context in contexts.items() if context.may_leave]
        return {left.message_id: left.wake_in for left in self._room.deliveries.unsettled(free)}

    def _leave(self, message_ids: Sequence[UUID], wait: timedelta, reason: str) -> None:
        self._room.asks.put_off(message_ids, wait=wait, reason=reason)
        self._put_off[reason] += len(message_ids)
        for message_id in message_ids:
            self._open.pop(message_id, None)
