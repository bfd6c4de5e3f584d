"""One channel's hand-offs: reserve the rate, lease, compose, commit `sending`, hand off, settle in the next commit."""

import logging
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Event
from uuid import UUID

from sqlalchemy import Connection

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.composing import Composer
from guestguard_dagster.delivery.leasing import LeaseClock
from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.delivery.patience import patiently
from guestguard_dagster.delivery.settling import settle, settle_repeat
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.domain.suppressions import EVERY_HOST, SuppressionReason, for_sending_number
from guestguard_dagster.senders.base import HandOff, Mail, Text
from guestguard_dagster.storage.deliveries import FixedBatch, Lease, LeaseTaken, RecipientFacts, Settlement
from guestguard_dagster.storage.recovery import RepeatableBatch

log = logging.getLogger(__name__)

# Idempotency keys live 24 hours at the provider; an hour is left for clocks and slow calls.
REPEAT_WITHIN = timedelta(hours=23)
_SOURCES_PER_GROUP = 10
_LONGEST_GROUP_SECONDS = 10.0
_BROADCAST_BACKLOG = timedelta(milliseconds=500)
_LONGEST_TURN_SECONDS = 1.0
_LONGEST_PUSH_BACK = timedelta(minutes=1)
_LOOK_AT_BREAKER_EVERY = 1.0
# What a probe brings that shows that the account is served again.
_SERVED = frozenset({OutcomeClass.SENT, OutcomeClass.PERMANENT})
_NO_WAIT = timedelta()
# How long to leave the probe to the process that won it.
PROBE_PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why this channel's provider account takes nothing now, and when to try again."""

    wait: timedelta
    reason: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the provider said for one recipient, and what follows for its row."""

    outcome: Outcome | None
    settlement: Settlement
    address: str | None


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """What one group's hand-off brought, kept until the next commit writes it down."""

    token: UUID
    settlements: tuple[Settlement, ...]
    batches: tuple[UUID, ...]
    answered_at: float


class Lane:
    """The hand-offs of one channel in one run. Not thread-safe: one thread steps it.

    A `transactional` lane reserves the provider's rate however long the queue is; broadcasts leave room for it.
    """

    def __init__(
        self,
        room: Mailroom,
        channel: MessageChannel,
        composer: Composer,
        stop: Event,
        *,
        transactional: bool = False,
    ) -> None:
        self._backlog_below = None if transactional else _BROADCAST_BACKLOG
        self._room = room
        self._channel = channel
        self._sender = room.senders.for_channel(channel)
        self._composer = composer
        self._stop = stop
        self._active: deque[UUID] = deque()
        self._cursors: dict[UUID, int] = {}
        self._unwritten: _Unwritten | None = None
        self._size = self._sender.group_size
        self._probe: UUID | None = None
        self._breaker_seen_at = 0.0
        self._breaker_reason = ""
        self.blocked: Blocked | None = None
        self.outcomes: Counter[str] = Counter()

    def wake(self, source_ids: Iterable[UUID]) -> None:
        """Look at these messages' rows from the start."""
        for source_id in source_ids:
            self._cursors[source_id] = 0
            if source_id not in self._active:
                self._active.append(source_id)

    def leave(self, source_ids: Iterable[UUID]) -> None:
        """Look at these messages' rows no more, until they are woken."""
        for source_id in source_ids:
            if source_id in self._active:
                self._active.remove(source_id)

    def step(self) -> bool:
        """Work on one group; False when no row is free now, or when the account takes nothing."""
        if not self._active or not self._account_is_open():
            return False
        size = 1 if self._probe else self._fitting_size()
        if not self._await_turn(size):
            return False
        clock = LeaseClock(self._stop, self._room.lease_time)
        lease = self._lease(size)
        if lease is None:
            self.give_back_probe()
            return False
        self._hand_off(lease, clock)
        return True

    def recover(self, source_ids: Sequence[UUID]) -> None:
        """Settle what a dead run left `sending`: repeat what can be repeated, call the rest `unknown`."""
        if not source_ids:
            return
        account = self._sender.account if self._sender.repeatable else None
        settled = self._room.recovery.settle_interrupted(source_ids, repeatable_account=account, within=REPEAT_WITHIN)
        self.outcomes[OutcomeClass.UNKNOWN] += settled
        while account is not None and not self._stop.is_set() and self._account_is_open():
            clock = LeaseClock(self._stop, self._room.lease_time)
            batch = self._room.recovery.lease_repeatable_batch(
                source_ids, account=account, within=REPEAT_WITHIN, duration=self._room.lease_time
            )
            if batch is None or not self._await_turn(1):
                break
            self._repeat(batch, clock)

    def flush(self) -> None:
        """Write down what the last group's hand-off brought. Waits for the database if it is away."""

        def write() -> None:
            with self._room.database.transaction() as connection:
                self._fold(connection)

        if self._unwritten is not None:
            patiently(write, self._stop)
            self._unwritten = None

    # --- one group -------------------------------------------------------------------------------------------------

    def _lease(self, size: int) -> Lease | None:
        while self._active:
            window = [self._active.popleft() for _ in range(min(len(self._active), _SOURCES_PER_GROUP))]
            per_source = -(-size // len(window))
            lease = self._room.deliveries.lease(
                {source_id: self._cursors[source_id] for source_id in window},
                size=size,
                per_source=per_source,
                duration=self._room.lease_time,
            )
            leased = Counter(facts.source_id for facts in lease.recipients)
            for facts in lease.recipients:
                self._cursors[facts.source_id] = max(self._cursors[facts.source_id], facts.delivery_id)
            # Whoever found no room in a full group comes first next time; whoever got its share may have more.
            is_full = len(lease.recipients) == size
            self._active.extendleft(id for id in reversed(window) if is_full and not leased[id])
            self._active.extend(id for id in window if leased[id] and (is_full or leased[id] == per_source))
            if lease.recipients:
                return lease
        return None

    def _hand_off(self, lease: Lease, clock: LeaseClock) -> None:
        composed = self._composer.compose(lease.recipients)
        self.leave(composed.stopped)
        requests = self._sender.prepare([item for _, item in composed.items])
        batches = [(_fixed(request), request.members) for request in requests]

        def commit() -> None:
            with self._room.database.transaction() as connection:
                self._fold(connection)
                self._room.deliveries.refuse(connection, lease.token, composed.refusals)
                self._room.deliveries.mark_sending(
                    connection,
                    lease,
                    batches,
                    provider=self._sender.provider,
                    account=self._sender.account,
                    duration=self._room.lease_time,
                )

        try:
            patiently(commit, self._stop)
        except LeaseTaken:
            log.warning("a group of %d deliveries was taken over before it left", len(lease.recipients))
            self.flush()
            self._room.deliveries.release(lease.token, marked_too=True)
            return
        self._unwritten = None
        self.outcomes.update(refusal.status for refusal in composed.refusals)
        if composed.stopped:
            self._room.deliveries.release(lease.token)
        self._let_leave(lease, requests, {facts.delivery_id: (facts, item) for facts, item in composed.items}, clock)

    def _let_leave(
        self,
        lease: Lease,
        requests: Sequence[HandOff],
        items: dict[int, tuple[RecipientFacts, Mail | Text]],
        clock: LeaseClock,
    ) -> None:
        started = boot_seconds()
        answers: list[_Answer] = []
        for number, request in enumerate(requests):
            has_turn = number == 0 or self._await_turn(0)  # the group has paid for its recipients already
            outcomes = self._sender.hand_off(request, clock.permit) if has_turn else [None] * len(request.members)
            for member, outcome in zip(request.members, outcomes, strict=True):
                facts, item = items[member]
                answers.append(
                    _Answer(outcome, settle(facts, outcome, repeatable=self._sender.repeatable), item.address)
                )
        self._take_in(lease.token, answers, [request.key for request in requests if request.body is not None])
        self._fit_group_to(boot_seconds() - started, len(answers))

    def _repeat(self, repeat: RepeatableBatch, clock: LeaseClock) -> None:
        self.flush()
        batch = repeat.batch
        request = HandOff(batch.members, batch.endpoint, zlib.decompress(batch.body), key=batch.id)
        outcomes = dict(zip(batch.members, self._sender.hand_off(request, clock.permit), strict=True))
        answers = [
            _Answer(outcome, settle_repeat(facts, outcome), facts.email)
            for facts in repeat.open_members
            for outcome in [outcomes[facts.delivery_id]]
        ]
        self._take_in(repeat.token, answers, [batch.id])
        self.flush()

    def _take_in(self, token: UUID, answers: Sequence[_Answer], batches: Sequence[UUID]) -> None:
        settlements = tuple(answer.settlement for answer in answers)
        is_answered = all(settlement.status is not DeliveryStatus.SENDING for settlement in settlements)
        self._unwritten = _Unwritten(token, settlements, tuple(batches) if is_answered else (), boot_seconds())
        for answer in answers:
            if answer.outcome is not None and answer.outcome.suppress and answer.address:
                patiently(partial(self._suppress, answer.address, answer.outcome.suppress), self._stop)
        outcomes = [answer.outcome for answer in answers if answer.outcome is not None]
        self.outcomes.update(outcome.outcome for outcome in outcomes)
        self._heed_account(outcomes)

    def _fold(self, connection: Connection) -> None:
        if self._unwritten is None:
            return
        self._room.deliveries.fold(
            connection,
            self._unwritten.token,
            self._unwritten.settlements,
            provider=self._sender.provider,
            account=self._sender.account,
            run_id=self._room.run_id,
            ago=timedelta(seconds=boot_seconds() - self._unwritten.answered_at),
        )
        self._room.deliveries.close_batches(connection, self._unwritten.batches)

    def _suppress(self, address: str, reason: str) -> None:
        number = self._room.senders.sending_number
        scope = for_sending_number(number) if reason == SuppressionReason.STOP and number else EVERY_HOST
        self._room.suppressions.add(self._channel, address, scope=scope, reason=reason, source=self._sender.provider)

    def _fit_group_to(self, seconds: float, recipients: int) -> None:
        """A slow server gets smaller groups, so that a whole group leaves well within its lease."""
        if recipients and seconds > 0:
            fitting = int(recipients * _LONGEST_GROUP_SECONDS / seconds)
            self._size = max(1, min(self._sender.group_size, fitting))

    def _fitting_size(self) -> int:
        """No more at once than the rate allows in the backlog's time, so that nobody else waits longer than that."""
        limit = self._sender.rate_limit
        if limit is None or limit.unit == "request":
            return self._size
        return max(1, min(self._size, int(limit.per_second * _BROADCAST_BACKLOG.total_seconds())))

    # --- the provider's account ------------------------------------------------------------------------------------

    def _await_turn(self, recipients: int) -> bool:
        """Reserve the rate and wait for it; False when that takes too long now, or when the run is being stopped."""
        limit = self._sender.rate_limit
        if limit is None:
            return True
        cost = recipients if limit.unit == "recipient" else 1
        give_up_at = boot_seconds() + _LONGEST_TURN_SECONDS
        while cost and not self._stop.is_set() and boot_seconds() < give_up_at:
            wait = self._room.rates.reserve(
                self._sender.account, cost=cost, per_second=limit.per_second, backlog_below=self._backlog_below
            )
            if wait != _NO_WAIT:
                self.flush()  # the lease on the last group's rows does not wait with us
            if wait is not None:
                return not self._stop.wait(wait.total_seconds())
            self._stop.wait(_BROADCAST_BACKLOG.total_seconds() / 2)
        return not cost

    def _account_is_open(self) -> bool:
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

    def _heed_account(self, outcomes: Sequence[Outcome]) -> None:
        account = self._sender.account
        wishes = [outcome.retry_after for outcome in outcomes if outcome.retry_after is not None]
        refused = next((o for o in outcomes if o.outcome is OutcomeClass.PROVIDER_WIDE), None)
        if refused is not None:
            reason = f"{self._sender.provider} takes nothing at the moment: {refused.detail or refused.error_class}"
            breaker = self._room.breakers.open(account, reason=reason, at_least=refused.retry_after)
            self.blocked = Blocked(max(breaker.remaining, PROBE_PATIENCE), reason)
            self._probe = None
            return
        if wishes:
            self._room.rates.push_back(account, wait=min(max(wishes), _LONGEST_PUSH_BACK))
        if self._probe is not None and outcomes:
            self._conclude_probe(is_served=any(outcome.outcome in _SERVED for outcome in outcomes))

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

    def give_back_probe(self) -> None:
        """The probe showed nothing: another process, or the next try, may have it."""
        if self._probe is not None:
            self._room.breakers.give_back_probe(self._sender.account, self._probe)
            self._probe = None
            self._breaker_seen_at = 0.0


def _fixed(request: HandOff) -> FixedBatch | None:
    if request.body is None:
        return None
    return FixedBatch(request.key, request.endpoint, request.members, zlib.compress(request.body, 1))
