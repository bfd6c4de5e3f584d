"""The loop that hands off: lane by lane, small group by small group, round-robin across messages.

Nothing is collected: rows say what is left, so memory does not grow with the audience and a crash loses no more than
the knowledge of one group.
"""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.audience import load_recipients
from guestguard_dagster.delivery.claiming import read_schedule
from guestguard_dagster.delivery.composing import MessageComposer
from guestguard_dagster.delivery.lanes import Lane
from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.delivery.preflight import preflight
from guestguard_dagster.delivery.quiet import claim_due, quiet_reason
from guestguard_dagster.domain.messages import MessageChannel

_RENEW_EVERY = timedelta(seconds=15)
# A run does not hold its slot for a longer wait: the messages are put off, and asked for again.
_LONGEST_STAY = timedelta(seconds=45)
_LOOK_AGAIN = timedelta(seconds=2)
_SHORTEST_REST = timedelta(milliseconds=50)


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
        self._composer = MessageComposer(room)
        self._lanes: dict[MessageChannel, Lane] = {}
        # messages being sent, by channel, and those that still wait for their instant
        self._open: dict[UUID, MessageChannel] = {}
        self._waiting: set[UUID] = set(message_ids)
        self._next_due_at = 0.0
        # until when, by boot_seconds, a lane has nothing to do; for ever when nothing of it is left
        self._rests_until: dict[MessageChannel, float] = {}
        self._renewed_at = 0.0
        self._put_off: Counter[str] = Counter()

    def run(self) -> DispatchReport:
        started = boot_seconds()
        try:
            while not self._stop.is_set():
                self._admit_due()
                self._renew()
                has_worked = [self._work(channel, lane) for channel, lane in self._lanes.items()]
                if not any(has_worked) and not self._pause():
                    break
        finally:
            with ExitStack() as lanes:
                for lane in self._lanes.values():
                    lanes.callback(lane.close)
        if self._stop.is_set():
            self._room.asks.requeue([*self._open, *self._waiting])
        outcomes = sum((lane.outcomes for lane in self._lanes.values()), Counter[str]())
        return DispatchReport(outcomes, boot_seconds() - started, dict(self._put_off))

    def _admit_due(self) -> None:
        if not self._waiting or boot_seconds() < self._next_due_at:
            return
        claim_due(self._room, list(self._waiting))
        schedule = read_schedule(self._room, list(self._waiting))
        self._waiting = set(schedule.waiting)
        until_next = _LOOK_AGAIN if schedule.first_due_in is None else min(schedule.first_due_in, _LOOK_AGAIN)
        self._next_due_at = boot_seconds() + until_next.total_seconds()
        if not schedule.sending:
            return
        for lane in self._lanes.values():
            lane.flush()  # the lease on its last group's rows does not wait for the preflight
        load_recipients(self._room, schedule.sending)
        preflight(self._room, schedule.sending, self._composer)
        contexts = self._room.contexts.load(schedule.sending)
        for message_id, context in contexts.items():
            channel = context.message.channel
            self._open[message_id] = channel
            if channel not in self._lanes:
                self._lanes[channel] = Lane(self._room, channel, self._composer, self._stop)
            self._lanes[channel].wake([message_id])
            self._rests_until[channel] = 0
        for channel, lane in self._lanes.items():
            lane.recover([id for id, c in contexts.items() if c.message.channel is channel and c.may_leave_now])

    def _renew(self) -> None:
        if boot_seconds() - self._renewed_at >= _RENEW_EVERY.total_seconds():
            self._renewed_at = boot_seconds()
            self._room.asks.renew([*self._open, *self._waiting])
            for channel, lane in self._lanes.items():
                lane.wake(self._open_of(channel))  # rows to be tried again do not wait for the end of the audience

    def _work(self, channel: MessageChannel, lane: Lane) -> bool:
        """One lease of this lane; False when it has nothing to do for a while."""
        if boot_seconds() < self._rests_until[channel]:
            return False
        if lane.step():
            return True
        wait = self._rest(channel, lane)
        rest = math.inf if wait is None else min(max(wait, _SHORTEST_REST), _LOOK_AGAIN).total_seconds()
        self._rests_until[channel] = boot_seconds() + rest
        return False

    def _rest(self, channel: MessageChannel, lane: Lane) -> timedelta | None:
        """The lane found no free row: put off what has to wait long.

        Returns how long the rest has to wait, or None when nothing is left here.
        """
        lane.flush()
        mine = self._open_of(channel)
        if lane.blocked is not None:
            self._leave(lane, mine, lane.blocked.wait, lane.blocked.reason)
            return None
        free = self._free_to_leave(lane, mine)
        lane.recover(free)
        waits = {left.source_id: left.wake_in for left in self._room.deliveries.unsettled(free)}
        for message_id in set(mine) & self._open.keys() - waits.keys():
            del self._open[message_id]
        for message_id, wait in waits.items():
            if wait > _LONGEST_STAY:
                self._leave(lane, [message_id], wait, "waiting to try again")
            else:
                lane.wake([message_id])
        return min((wait for message_id, wait in waits.items() if message_id in self._open), default=None)

    def _pause(self) -> bool:
        """Wait for the next thing to do; False when nothing is left for this run."""
        moments = [moment for moment in self._rests_until.values() if moment < math.inf]
        if self._waiting:
            moments.append(self._next_due_at)
        if not moments:
            return False
        self._stop.wait(max(min(moments) - boot_seconds(), 0))
        return True

    def _open_of(self, channel: MessageChannel) -> list[UUID]:
        return [message_id for message_id, of in self._open.items() if of is channel]

    def _free_to_leave(self, lane: Lane, message_ids: Sequence[UUID]) -> list[UUID]:
        """Those that nobody holds and that disturb nobody; what quiet hours have begun for is put off."""
        contexts = self._room.contexts.load(message_ids)
        for message_id, context in contexts.items():
            if context.may_leave and context.quiet_until is not None:
                until = context.quiet_until
                self._leave(lane, [message_id], until - context.read_at, quiet_reason(context.event, until))
        return [message_id for message_id, context in contexts.items() if context.may_leave_now]

    def _leave(self, lane: Lane, message_ids: Sequence[UUID], wait: timedelta, reason: str) -> None:
        if not message_ids:
            return
        self._room.asks.defer(message_ids, wait=wait, reason=reason)
        lane.leave(message_ids)
        self._put_off[reason] += len(message_ids)
        for message_id in message_ids:
            self._open.pop(message_id, None)
