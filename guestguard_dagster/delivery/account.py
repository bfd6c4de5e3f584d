"""A provider's account as one lane sees it: the rate that all processes share, the breaker, and the probe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import Mail, Sender, Text

# How long to leave the probe to the process that won it.
PROBE_PATIENCE = timedelta(seconds=30)

# Of the limit: the provider counts what arrives, some milliseconds earlier or later than it was planned.
_SHARE_OF_LIMIT = 0.96
_BROADCAST_BACKLOG = timedelta(milliseconds=500)
_LONGEST_TURN_SECONDS = 1.0
_LONGEST_PUSH_BACK = timedelta(minutes=1)
_LOOK_AT_BREAKER_EVERY = 1.0
# What a probe brings that shows that the account is served again.
_SERVED = frozenset({OutcomeClass.SENT, OutcomeClass.PERMANENT})
_NO_WAIT = timedelta()


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a provider's account takes nothing now, and when to try again."""

    wait: timedelta
    reason: str


class Account:
    """Not thread-safe but for `await_turn`. A `transactional` one reserves the rate however long the queue is."""

    def __init__(
        self, room: Mailroom, sender: Sender[Mail] | Sender[Text], stop: Event, *, transactional: bool
    ) -> None:
        self._room = room
        self._sender = sender
        self._stop = stop
        self._backlog_below = None if transactional else _BROADCAST_BACKLOG
        self._probe: UUID | None = None
        self._breaker_seen_at = 0.0
        self._breaker_reason = ""
        self.blocked: Blocked | None = None

    @property
    def is_probed(self) -> bool:
        """The next hand-off is of one recipient, and decides for everybody whether the account is served again."""
        return self._probe is not None

    def is_open(self) -> bool:
        """Whether anything may be handed off; with an open breaker, only by the process that wins the probe."""
        if self._probe is not None or boot_seconds() - self._breaker_seen_at < _LOOK_AT_BREAKER_EVERY:
            return self.blocked is None
        self._breaker_seen_at = boot_seconds()
        breaker = self._room.breakers.get(self._sender.account)
        self.blocked = None
        if breaker is None:
            return True
        self._breaker_reason = breaker.reason
        if not breaker.remaining:
            self._probe = self._room.breakers.win_probe(self._sender.account)
        if self._probe is None:
            self.blocked = Blocked(max(breaker.remaining, PROBE_PATIENCE), breaker.reason)
        return self.blocked is None

    def fitting_size(self, size: int) -> int:
        """No more at once than the rate allows in the backlog's time, so that nobody else waits longer than that."""
        limit = self._sender.rate_limit
        if limit is None or limit.unit == "request":
            return size
        return max(1, min(size, int(limit.per_second * _BROADCAST_BACKLOG.total_seconds())))

    def await_turn(self, recipients: int, *, before_waiting: Callable[[], None] = lambda: None) -> bool:
        """Reserve the rate and wait for it; False when that takes too long now, or when the run is being stopped."""
        limit = self._sender.rate_limit
        if limit is None:
            return True
        cost = recipients if limit.unit == "recipient" else 1
        pace = limit.per_second * _SHARE_OF_LIMIT
        give_up_at = boot_seconds() + _LONGEST_TURN_SECONDS
        while cost and not self._stop.is_set() and boot_seconds() < give_up_at:
            wait = self._room.rates.reserve(
                self._sender.account, cost=cost, per_second=pace, backlog_below=self._backlog_below
            )
            turn_at = boot_seconds() + (wait or _NO_WAIT).total_seconds()
            if wait != _NO_WAIT:
                before_waiting()
            if wait is not None:
                return not self._stop.wait(max(turn_at - boot_seconds(), 0))
            self._stop.wait(_BROADCAST_BACKLOG.total_seconds() / 2)
        return not cost

    def heed(self, outcomes: Sequence[Outcome]) -> bool:
        """What answers say about the account itself; False when nothing more may be handed off without a new turn."""
        wishes = [outcome.retry_after for outcome in outcomes if outcome.retry_after is not None]
        refused = next((o for o in outcomes if o.outcome is OutcomeClass.PROVIDER_WIDE), None)
        if refused is not None:
            reason = f"{self._sender.provider} takes nothing at the moment: {refused.detail or refused.error_class}"
            breaker = self._room.breakers.open(self._sender.account, reason=reason, at_least=refused.retry_after)
            self.blocked = Blocked(max(breaker.remaining, PROBE_PATIENCE), reason)
            self._probe = None
            return False
        if wishes:
            self._room.rates.push_back(self._sender.account, wait=min(max(wishes), _LONGEST_PUSH_BACK))
        if self._probe is not None and outcomes:
            self._conclude_probe(is_served=any(outcome.outcome in _SERVED for outcome in outcomes))
        return not wishes and self.blocked is None

    def give_back_probe(self) -> None:
        """The probe showed nothing: another process, or the next try, may have it."""
        if self._probe is not None:
            self._room.breakers.give_back_probe(self._sender.account, self._probe)
            self._probe = None
            self._breaker_seen_at = 0.0

    def _conclude_probe(self, *, is_served: bool) -> None:
        if is_served:
            self._probe = None
            reason = self._room.breakers.close(self._sender.account)
            if reason is not None:
                self._room.asks.wake(reason=reason)
        else:
            self.give_back_probe()
            self._breaker_seen_at = boot_seconds()
            self.blocked = Blocked(PROBE_PATIENCE, self._breaker_reason)
