"""The gate before a provider's account: the rate limit that all processes share, the circuit breaker, the probe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import UUID, uuid4

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import Sender
from guestguard_dagster.storage.providers.breakers import FIRST_OPEN_TIME, LONGEST_OPEN_TIME

# How long to leave the probe to the process that won it.
PROBE_PATIENCE = timedelta(seconds=5)

# Where nobody is to blame, the server is looked at again much sooner.
_FIRST_UNAVAILABLE = timedelta(seconds=1)
_LONGEST_UNAVAILABLE = timedelta(minutes=1)
_LONGEST_UNREACHABLE = timedelta(minutes=5)

# Of the limit: the provider counts what arrives, some milliseconds earlier or later than it was planned.
_SHARE_OF_LIMIT = 0.96
_BROADCAST_BACKLOG = timedelta(milliseconds=500)
_LONGEST_TURN_SECONDS = 1.0
_LONGEST_PUSH_BACK = timedelta(minutes=1)
_LOOK_AT_BREAKER_EVERY = 1.0
# How long the messages of a run wait that leaves the rate to another run, unless that one takes them over.
_LEFT_FOR = timedelta(minutes=1)
# What a probe brings that shows that the account is served again.
_SERVED = frozenset({OutcomeClass.SENT, OutcomeClass.PERMANENT})
_NO_WAIT = timedelta()


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a provider's account takes nothing now, and when to try again."""

    wait: timedelta
    reason: str


def batch_size_of(sender: Sender[Any]) -> int:
    """What the provider takes at once, and no more than leaves in half a second at its rate: nobody waits longer."""
    limit = sender.rate_limit
    if limit is None or limit.unit == "request":
        return sender.batch_size
    return max(1, min(sender.batch_size, int(limit.per_second * _BROADCAST_BACKLOG.total_seconds())))


class ProviderGate:
    """Not thread-safe but for `await_turn`. A `transactional` one reserves the rate however long the queue is."""

    def __init__(self, sending: SendContext, sender: Sender[Any], stop: Event, *, transactional: bool) -> None:
        self._sending = sending
        self._sender = sender
        self._stop = stop
        self._backlog_below = None if transactional else _BROADCAST_BACKLOG
        self._token = uuid4()
        # the rate is too low for several runs, and this one uses it
        self._is_sole = False
        self._probe: UUID | None = None
        self._look_again_at = 0.0
        self._breaker_reason = ""
        self.blocked: Blocked | None = None

    @property
    def is_probing(self) -> bool:
        """The next hand-off is of one recipient, and decides for everybody whether the account is served again."""
        return self._probe is not None

    def is_open(self) -> bool:
        """Whether anything may be handed off; with an open breaker, only by the process that wins the probe."""
        if self._probe is not None or boot_seconds() < self._look_again_at:
            return self.blocked is None
        self._look_again_at = boot_seconds() + _LOOK_AT_BREAKER_EVERY
        breaker = self._sending.breakers.get(self._sender.account)
        self.blocked = None
        if breaker is None:
            return True
        self._breaker_reason = breaker.reason
        if not breaker.remaining:
            self._probe = self._sending.breakers.win_probe(self._sender.account)
        if self._probe is None:
            self.blocked = Blocked(breaker.remaining or PROBE_PATIENCE, breaker.reason)
        return self.blocked is None

    def await_turn(self, *, requests: int, recipients: int, before_waiting: Callable[[], None] = lambda: None) -> bool:
        """Reserve the rate and wait for it; False when that takes too long now, or when the run is being stopped."""
        limit = self._sender.rate_limit
        if limit is None:
            return True
        cost = recipients if limit.unit == "recipient" else requests
        pace = limit.per_second * _SHARE_OF_LIMIT
        give_up_at = boot_seconds() + _LONGEST_TURN_SECONDS
        while cost and not self._stop.is_set() and boot_seconds() < give_up_at:
            wait = self._sending.rates.reserve(
                self._sender.account, cost=cost, per_second=pace, backlog_below=self._backlog_below
            )
            turn_at = boot_seconds() + (wait or _NO_WAIT).total_seconds()
            if wait != _NO_WAIT:
                before_waiting()
            if wait is not None:
                return not self._stop.wait(max(turn_at - boot_seconds(), 0))
            if not self._sending.rates.become_sole(self._sender.account, self._token):
                self.blocked = Blocked(_LEFT_FOR, self.left_to_another_run)
                return False
            self._is_sole = True
            self._stop.wait(_BROADCAST_BACKLOG.total_seconds() / 2)
        return not cost

    @property
    def left_to_another_run(self) -> str:
        """Why the messages of a run wait that has found another one using the whole rate."""
        return f"another run sends all that {self._sender.account} takes a second, and takes this message over"

    def stay_sole(self) -> bool:
        """Whether this run uses the whole rate, and so works on what others left to it; renews that."""
        self._is_sole = self._is_sole and self._sending.rates.become_sole(self._sender.account, self._token)
        return self._is_sole

    def leave(self) -> None:
        """This run hands nothing off any more."""
        self.return_probe()
        if self._is_sole:
            self._is_sole = False
            self._sending.rates.leave_to_others(self._sender.account, self._token)
            # Whoever left it to this run a moment ago is not taken over any more.
            self._sending.run_requests.wake(reason=self.left_to_another_run)

    def note(self, outcomes: Sequence[Outcome]) -> bool:
        """What answers say about the account itself; False when nothing more may be handed off without a new turn."""
        refused = next((o for o in outcomes if o.outcome is OutcomeClass.PROVIDER_WIDE), None)
        unavailable = next((o for o in outcomes if o.outcome is OutcomeClass.UNAVAILABLE), None)
        if refused is not None:
            first = max(FIRST_OPEN_TIME, refused.retry_after or _NO_WAIT)
            self._close_gate(refused, first=first, longest=max(LONGEST_OPEN_TIME, first))
            return False
        if unavailable is not None:
            first = min(unavailable.retry_after or _FIRST_UNAVAILABLE, _LONGEST_UNREACHABLE)
            longest = _LONGEST_UNAVAILABLE if first <= _FIRST_UNAVAILABLE else _LONGEST_UNREACHABLE
            self._close_gate(unavailable, first=first, longest=longest)
            return False
        wishes = [outcome.retry_after for outcome in outcomes if outcome.retry_after is not None]
        if wishes:
            self._sending.rates.push_back(self._sender.account, wait=min(max(wishes), _LONGEST_PUSH_BACK))
        if self._probe is not None and outcomes:
            self._conclude_probe(is_served=any(outcome.outcome in _SERVED for outcome in outcomes))
        return not wishes and self.blocked is None

    def return_probe(self) -> None:
        """The probe showed nothing: another process, or the next try, may have it."""
        if self._probe is not None:
            self._sending.breakers.give_back_probe(self._sender.account, self._probe)
            self._probe = None
            self._look_again_at = 0.0

    def _close_gate(self, answer: Outcome, *, first: timedelta, longest: timedelta) -> None:
        reason = f"{self._sender.provider} takes nothing at the moment: {answer.detail or answer.error_class}"
        breaker = self._sending.breakers.open(self._sender.account, reason=reason, first=first, longest=longest)
        self.blocked = Blocked(breaker.remaining, reason)
        self._look_again_at = boot_seconds() + min(breaker.remaining.total_seconds(), _LOOK_AT_BREAKER_EVERY)
        self._probe = None

    def _conclude_probe(self, *, is_served: bool) -> None:
        if is_served:
            self._probe = None
            reason = self._sending.breakers.close(self._sender.account)
            if reason is not None:
                self._sending.run_requests.wake(reason=reason)
        else:
            self.return_probe()
            self._look_again_at = boot_seconds() + _LOOK_AT_BREAKER_EVERY
            self.blocked = Blocked(PROBE_PATIENCE, self._breaker_reason)
