"""One type of notification: events are received group by group, and their mails handed off in between.

Rows say what is left, so this may be killed at any step, and any number of processes may do it at once.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Event

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.database_retry import retry_database
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.delivery.worker import Worker
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.notifications.composing import NotificationComposer
from guestguard_dagster.notifications.intake import EventSource, receive_from_stream
from guestguard_dagster.notifications.rules import Rules
from guestguard_dagster.streams.errors import StreamFailed

log = logging.getLogger(__name__)

GROUP_SIZE = 500
_NO_WAIT = timedelta()
_HAND_OFF_SECONDS = 0.5
_LOOK_SECONDS = 1.0
# A row that is tried again so soon is waited for; the next run takes care of the others.
_LONGEST_STAY = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class NotificationReport:
    """`events` by what became of them, recipients by what the hand-off said, over `seconds`. `left` rows have to wait,
    `blocked` and `stream_problem` say why something did not move, if it did not."""

    events: Counter[str]
    outcomes: Counter[str]
    seconds: float
    left: int
    blocked: str | None
    stream_problem: str | None


def receive_and_send(
    sending: SendContext, source: EventSource, rules: Rules, kind: NotificationType, stop: Event, *, linger: timedelta
) -> NotificationReport:
    """Receive and hand off until nothing has come for `linger`, and what is left has to wait."""
    return _ReceiveAndSend(sending, source, rules, kind, stop, linger).run()


class _ReceiveAndSend:
    def __init__(
        self,
        sending: SendContext,
        source: EventSource,
        rules: Rules,
        kind: NotificationType,
        stop: Event,
        linger: timedelta,
    ) -> None:
        self._sending = sending
        self._source = source
        self._rules = rules
        self._kind = kind
        self._stop = stop
        self._linger = linger.total_seconds()
        self._worker = Worker(sending, MessageChannel.EMAIL, NotificationComposer(sending), stop, transactional=True)
        self._events: Counter[str] = Counter()
        self._stream_problem: str | None = None
        self._looked_at = 0.0
        self._left = 0
        self._wakes_in: timedelta | None = None

    def run(self) -> NotificationReport:
        started = quiet_since = boot_seconds()
        try:
            self._look_at_rows()
            is_busy = True
            while not self._stop.is_set():
                came = self._receive(_NO_WAIT if is_busy else self._next_wait())
                is_busy = self._hand_off()
                if came or is_busy:
                    quiet_since = boot_seconds()
                elif boot_seconds() - quiet_since >= self._linger and not self._stays_for_rows():
                    break
        finally:
            self._worker.close()
        return NotificationReport(
            events=self._events,
            outcomes=self._worker.outcomes,
            seconds=boot_seconds() - started,
            left=self._left,
            blocked=self._worker.blocked.reason if self._worker.blocked else None,
            stream_problem=self._stream_problem,
        )

    def _receive(self, wait: timedelta) -> bool:
        """One group of events; False when none came. A stream that is away keeps no mail from leaving."""
        try:
            messages = self._source.fetch(self._kind, size=GROUP_SIZE, wait=wait)
            if not messages:
                self._stream_problem = None
                return False
            receive = partial(receive_from_stream, self._sending, self._source, self._rules, self._kind, messages)
            self._events += retry_database(receive, self._stop)
        except StreamFailed as problem:
            if self._stream_problem is None:
                log.warning("events of type %s cannot be received: %s", self._kind, problem)
            self._stream_problem = str(problem)
            self._stop.wait(wait.total_seconds())
            return False
        self._stream_problem = None
        self._worker.wake([self._kind.queue_id])
        return True

    def _hand_off(self) -> bool:
        """Group after group for a short while; False when no row is free now."""
        give_way_at = boot_seconds() + _HAND_OFF_SECONDS
        while not self._stop.is_set():
            if not self._worker.step():
                self._worker.flush()
                return self._look_at_rows()
            if boot_seconds() >= give_way_at:
                return True
        return False

    def _look_at_rows(self) -> bool:
        """Take up, once a second, what a dead run left and what may be tried again; True when some row is free."""
        if boot_seconds() - self._looked_at < _LOOK_SECONDS:
            return False
        self._looked_at = boot_seconds()
        queue_id = self._kind.queue_id
        self._worker.recover([queue_id])
        left = self._sending.batches.unsettled([queue_id])
        self._left = sum(row.recipients for row in left)
        self._wakes_in = min((row.wake_in for row in left), default=None)
        is_free = self._wakes_in == _NO_WAIT and self._worker.blocked is None
        if is_free:
            self._worker.wake([queue_id])
        return is_free

    def _next_wait(self) -> timedelta:
        return timedelta(seconds=min(_LOOK_SECONDS, max(self._linger, 0.05)))

    def _stays_for_rows(self) -> bool:
        return self._wakes_in is not None and self._worker.blocked is None and self._wakes_in <= _LONGEST_STAY
