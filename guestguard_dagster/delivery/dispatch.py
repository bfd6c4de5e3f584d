"""The loop that hands off: batch by batch, round-robin across messages, small ones never behind large ones.

Nothing is collected: rows say what is left, so memory does not grow with the audience and a crash loses no more than
the knowledge of one batch.
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
from guestguard_dagster.delivery.claim import read_schedule
from guestguard_dagster.delivery.composing import MessageComposer
from guestguard_dagster.delivery.preparing import Preparation
from guestguard_dagster.delivery.quiet_hours import claim_due, quiet_reason
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.delivery.worker import Worker
from guestguard_dagster.domain.messages import MessageChannel

# of a run whose provider takes nothing
_LONGEST_STAY_BLOCKED = timedelta(seconds=15)
_LOOK_AGAIN = timedelta(seconds=2)
_SHORTEST_REST = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class DispatchReport:
    """Recipients by what the hand-off said, over `seconds`; `deferred` says why messages wait, if some do."""

    outcomes: Counter[str]
    seconds: float
    deferred: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Recipients handed off per second."""
        return self.outcomes["sent"] / self.seconds if self.seconds > 0 else 0.0


def dispatch(sending: SendContext, message_ids: Sequence[UUID], stop: Event) -> DispatchReport:
    """Hand off everything that is due of these messages, until nothing is left or what is left has to wait.

    Messages of the run that were not due when it claimed are claimed here, at their instant; audiences that were too
    large to be frozen and checked at once are, between batches of other messages.
    """
    return _Dispatch(sending, message_ids, stop).run()


class _Dispatch:
    def __init__(self, sending: SendContext, message_ids: Sequence[UUID], stop: Event) -> None:
        self._sending = sending
        self._stop = stop
        self._composer = MessageComposer(sending)
        self._preparation = Preparation(sending, self._composer)
        self._workers: dict[MessageChannel, Worker] = {}
        # messages being sent, by channel, and those that still wait for their instant
        self._open: dict[UUID, MessageChannel] = {}
        self._waiting: set[UUID] = set(message_ids)
        self._next_due_at = 0.0
        # until when, by boot_seconds, a worker has nothing to do; for ever when nothing of it is left
        self._rests_until: dict[MessageChannel, float] = {}
        self._renewed_at = 0.0
        self._took_over_at = 0.0
        self._deferred: Counter[str] = Counter()

    def run(self) -> DispatchReport:
        started = boot_seconds()
        try:
            while not self._stop.is_set():
                self._admit_due()
                self._renew()
                self._take_over()
                has_worked = [self._work(channel, worker) for channel, worker in self._workers.items()]
                has_worked.append(self._prepare(is_alone=not any(has_worked)))
                if not any(has_worked) and not self._pause() and not self._take_over(is_last=True):
                    break
        finally:
            with ExitStack() as workers:
                for worker in self._workers.values():
                    workers.callback(worker.close)
        if self._stop.is_set():
            self._sending.run_requests.requeue(self._all)
        outcomes = sum((worker.outcomes for worker in self._workers.values()), Counter[str]())
        return DispatchReport(outcomes, boot_seconds() - started, dict(self._deferred))

    @property
    def _all(self) -> list[UUID]:
        return [*self._open, *self._preparation.message_ids, *self._waiting]

    def _admit_due(self) -> None:
        if not self._waiting or boot_seconds() < self._next_due_at:
            return
        claim_due(self._sending, list(self._waiting))
        schedule = read_schedule(self._sending, list(self._waiting))
        self._waiting = set(schedule.waiting)
        until_next = _LOOK_AGAIN if schedule.first_due_in is None else min(schedule.first_due_in, _LOOK_AGAIN)
        self._next_due_at = boot_seconds() + until_next.total_seconds()
        self._preparation.add(schedule.sending)

    def _prepare(self, *, is_alone: bool) -> bool:
        """Freeze and check for a moment what is not ready; False when there was nothing to do."""
        if not self._preparation.message_ids or not self._preparation.is_due(is_alone=is_alone):
            return False
        for worker in self._workers.values():
            worker.flush()  # the lease on its last batch does not wait for us
        has_worked = self._preparation.step()
        self._open_ready(self._preparation.take_ready())
        return has_worked

    def _open_ready(self, message_ids: Sequence[UUID]) -> None:
        contexts = self._sending.contexts.load(message_ids)
        for message_id, context in sorted(contexts.items(), key=lambda item: item[1].message.recipient_count or 0):
            channel = context.message.channel
            self._open[message_id] = channel
            if channel not in self._workers:
                self._workers[channel] = Worker(self._sending, channel, self._composer, self._stop)
            self._workers[channel].wake([message_id])
            self._rests_until[channel] = 0
        for channel, worker in self._workers.items():
            worker.recover([id for id, c in contexts.items() if c.message.channel is channel and c.may_leave_now])

    def _renew(self) -> None:
        if boot_seconds() - self._renewed_at >= self._sending.pace.renew_every.total_seconds():
            self._renewed_at = boot_seconds()
            self._sending.run_requests.renew(self._all)
            for channel, worker in self._workers.items():
                # batches to be tried again do not wait for the end of the audience
                worker.wake(self._open_of(channel))

    def _take_over(self, *, is_last: bool = False) -> bool:
        """Go on with what other runs left to this one, looking now and then; False when there is nothing."""
        if not is_last and boot_seconds() - self._took_over_at < _LOOK_AGAIN.total_seconds():
            return False
        self._took_over_at = boot_seconds()
        taken = [message_id for worker in self._workers.values() for message_id in worker.take_over()]
        self._preparation.add(taken)
        return bool(taken)

    def _work(self, channel: MessageChannel, worker: Worker) -> bool:
        """One lease of this worker; False when it has nothing to do for a while."""
        if boot_seconds() < self._rests_until[channel]:
            return False
        if worker.step():
            return True
        wait = self._rest(channel, worker)
        rest = math.inf if wait is None else min(max(wait, _SHORTEST_REST), _LOOK_AGAIN).total_seconds()
        self._rests_until[channel] = boot_seconds() + rest
        return False

    def _rest(self, channel: MessageChannel, worker: Worker) -> timedelta | None:
        """The worker found no free batch: defer what has to wait long.

        Returns how long the rest has to wait, or None when nothing is left here.
        """
        worker.flush()
        mine = self._open_of(channel)
        if worker.blocked is not None:
            if worker.blocked.wait <= _LONGEST_STAY_BLOCKED:
                return worker.blocked.wait if mine else None
            self._defer(worker, mine, worker.blocked.wait, worker.blocked.reason)
            return None
        free = self._free_to_leave(worker, mine)
        worker.recover(free)
        waits = {left.queue_id: left.wake_in for left in self._sending.batches.unsettled(free)}
        for message_id in set(mine) & self._open.keys() - waits.keys():
            del self._open[message_id]
        for message_id, wait in waits.items():
            if wait > self._sending.pace.longest_stay:
                self._defer(worker, [message_id], wait, "waiting to try again")
            else:
                worker.wake([message_id])
        return min((wait for message_id, wait in waits.items() if message_id in self._open), default=None)

    def _pause(self) -> bool:
        """Wait for the next thing to do; False when nothing is left for this run."""
        moments = [moment for moment in self._rests_until.values() if moment < math.inf]
        if self._waiting:
            moments.append(self._next_due_at)
        if self._preparation.message_ids:
            moments.append(boot_seconds() + _SHORTEST_REST.total_seconds())
        if not moments:
            return False
        self._stop.wait(max(min(moments) - boot_seconds(), 0))
        return True

    def _open_of(self, channel: MessageChannel) -> list[UUID]:
        return [message_id for message_id, of in self._open.items() if of is channel]

    def _free_to_leave(self, worker: Worker, message_ids: Sequence[UUID]) -> list[UUID]:
        """Those that nobody holds and that disturb nobody; what quiet hours have begun for is deferred."""
        contexts = self._sending.contexts.load(message_ids)
        for message_id, context in contexts.items():
            if context.may_leave and context.quiet_until is not None:
                until = context.quiet_until
                self._defer(worker, [message_id], until - context.read_at, quiet_reason(context.event, until))
        return [message_id for message_id, context in contexts.items() if context.may_leave_now]

    def _defer(self, worker: Worker, message_ids: Sequence[UUID], wait: timedelta, reason: str) -> None:
        if not message_ids:
            return
        self._sending.run_requests.defer(message_ids, wait=wait, reason=reason)
        worker.leave(message_ids)
        self._deferred[reason] += len(message_ids)
        for message_id in message_ids:
            self._open.pop(message_id, None)
