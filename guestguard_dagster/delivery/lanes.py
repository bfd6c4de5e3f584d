"""One channel's hand-offs: reserve the rate, lease, compose, commit `sending`, hand off, settle in the next commit.

Where a hand-off is one call and a wait, the next group is leased and composed meanwhile; it leaves once the first is
back. Where it is not, several groups are leased and composed at once, if they all leave within a second.
"""

import logging
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Event
from uuid import UUID

from sqlalchemy import Connection

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.account import Account, Blocked
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
from guestguard_dagster.storage.deliveries import FixedBatch, GroupStale, Lease, RecipientFacts, Refusal, Settlement
from guestguard_dagster.storage.recovery import RepeatableBatch

log = logging.getLogger(__name__)

# Idempotency keys live 24 hours at the provider; an hour is left for clocks and slow calls.
REPEAT_WITHIN = timedelta(hours=23)
_SOURCES_PER_GROUP = 10
_LONGEST_GROUP_SECONDS = 10.0
# What was composed longer ago is composed anew, or given back.
_FACTS_HOLD_SECONDS = 1.0
_MOST_GROUPS_PER_LEASE = 4


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the provider said for one recipient, and what follows for its row."""

    outcome: Outcome | None
    settlement: Settlement
    address: str | None


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of one lease that are marked and leave together. `refusals` are settled in the same commit."""

    token: UUID
    requests: tuple[HandOff, ...]
    items: Mapping[int, tuple[RecipientFacts, Mail | Text]]
    refusals: Sequence[Refusal] = ()


@dataclass(frozen=True, slots=True)
class _Landed:
    """One group's answers, and when its hand-off began and ended."""

    token: UUID
    answers: tuple[_Answer, ...]
    batches: tuple[UUID, ...]
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """What one group's hand-off brought, kept until the next commit writes it down."""

    token: UUID
    settlements: tuple[Settlement, ...]
    batches: tuple[UUID, ...]
    answered_at: float


class Lane:
    """The hand-offs of one channel in one run. Not thread-safe: one thread steps it. Close it in the end.

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
        self._room = room
        self._channel = channel
        self._sender = room.senders.for_channel(channel)
        self._account = Account(room, self._sender, stop, transactional=transactional)
        self._composer = composer
        self._stop = stop
        self._active: deque[UUID] = deque()
        self._cursors: dict[UUID, int] = {}
        self._courier = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hand-off")
        self._under_way: Future[_Landed] | None = None
        self._unwritten: _Unwritten | None = None
        # the last answers said that the turn that was reserved for what comes next does not hold
        self._lost_turn = False
        self._composed_at = 0.0
        # addresses that were suppressed since something was composed, folded
        self._suppressed: set[str] = set()
        self._size = self._sender.batch_size
        self._groups_per_lease = 1
        self.outcomes: Counter[str] = Counter()

    @property
    def blocked(self) -> Blocked | None:
        """Why the provider's account takes nothing now, if so."""
        return self._account.blocked

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
        """Lease some more rows and let them leave; False when no row is free now, or when the account takes nothing.

        The last group may still be under way when this returns: `flush` waits for it.
        """
        if not self._active or not self._account.is_open():
            return False
        if self._account.is_probed:
            self._land()  # nothing leaves beside a probe
            if self.blocked:
                return False
        self._lost_turn = False
        size = 1 if self._account.is_probed else self._account.fitting_size(self._size)
        # the lease on the last group's rows does not wait with us
        if not self._account.await_turn(size, before_waiting=self.flush):
            return False
        lease = self._lease(size if self._account.is_probed else size * self._groups_per_lease)
        if lease is None:
            self._account.give_back_probe()
            return False
        self._send(lease)
        return True

    def recover(self, source_ids: Sequence[UUID]) -> None:
        """Settle what a dead run left `sending`: repeat what can be repeated, call the rest `unknown`."""
        if not source_ids:
            return
        account = self._sender.account if self._sender.repeatable else None
        settled = self._room.recovery.settle_interrupted(source_ids, repeatable_account=account, within=REPEAT_WITHIN)
        self.outcomes[OutcomeClass.UNKNOWN] += settled
        while account is not None and not self._stop.is_set() and self._account.is_open():
            clock = LeaseClock(self._stop, self._room.lease_time)
            batch = self._room.recovery.lease_repeatable_batch(
                source_ids, account=account, within=REPEAT_WITHIN, duration=self._room.lease_time
            )
            if batch is None or not self._account.await_turn(1, before_waiting=self.flush):
                break
            self._repeat(batch, clock)

    def flush(self) -> None:
        """Wait for the group under way, and write down what it brought. Waits for the database if it is away."""
        self._land()

        def write() -> None:
            with self._room.database.transaction() as connection:
                self._fold(connection)

        if self._unwritten is not None:
            patiently(write, self._stop)
            self._unwritten = None

    def close(self) -> None:
        """Flush, and leave the account to others."""
        try:
            self.flush()
            self._account.give_back_probe()
        finally:
            self._courier.shutdown()

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

    def _compose(self, lease: Lease) -> tuple[list[_Group], frozenset[UUID]]:
        """The groups of this lease, at least one, and the messages that are stopped."""
        self._suppressed.clear()
        composed = self._composer.compose(lease.recipients)
        items = {facts.delivery_id: (facts, item) for facts, item in composed.items}
        requests = self._sender.prepare([item for _, item in composed.items])
        first, *others = _grouped(requests, self._sender.batch_size) or [()]
        groups = [_Group(lease.token, first, items, composed.refusals)]
        groups += [_Group(lease.token, each, items) for each in others]
        self._composed_at = boot_seconds()
        return groups, composed.stopped

    def _send(self, lease: Lease) -> None:
        groups, stopped = self._compose(lease)
        self._land()
        if not all(map(self._holds, groups)):
            groups, stopped = self._compose(lease)
        self.leave(stopped)
        for group in groups:
            self._land()
            if self._lost_turn or not self._holds(group) or self._stop.is_set() or not self._leaves(group):
                self._give_back(lease)
                return
        if stopped:
            self._room.deliveries.release(lease.token)

    def _holds(self, group: _Group) -> bool:
        """Whether this group may still leave as it was composed."""
        if boot_seconds() - self._composed_at > _FACTS_HOLD_SECONDS:
            return False
        members = (member for request in group.requests for member in request.members)
        return not self._suppressed or not any(
            group.items[member][1].address.casefold() in self._suppressed for member in members
        )

    def _leaves(self, group: _Group) -> bool:
        """Let this group leave; False when it may not any more."""
        clock = LeaseClock(self._stop, self._room.lease_time)
        try:
            self._commit(group)
        except GroupStale as stale:
            log.info("a group is looked at again: %s", stale)
            self._composer.forget()
            self.flush()
            self._room.deliveries.release(group.token, marked_too=True)
            return False
        self.outcomes.update(refusal.status for refusal in group.refusals)
        if self._sender.overlaps:
            self._under_way = self._courier.submit(self._hand_off, group, clock)
        else:
            self._heed(self._hand_off(group, clock))
        return True

    def _give_back(self, lease: Lease) -> None:
        self._room.deliveries.release(lease.token)
        self.wake({facts.source_id for facts in lease.recipients})

    def _commit(self, group: _Group) -> None:
        """In one durable transaction: what the last group brought, and that this one is about to leave."""
        batches = [(_fixed(request), request.members) for request in group.requests]

        def commit() -> None:
            with self._room.database.transaction() as connection:
                self._fold(connection)
                self._room.deliveries.refuse(connection, group.token, group.refusals)
                self._room.deliveries.mark_sending(
                    connection,
                    group.token,
                    batches,
                    provider=self._sender.provider,
                    account=self._sender.account,
                    duration=self._room.lease_time,
                )

        patiently(commit, self._stop)
        self._unwritten = None

    def _hand_off(self, group: _Group, clock: LeaseClock) -> _Landed:
        """Touches nothing of the lane that changes: it may run in the courier's thread."""
        started_at = boot_seconds()
        answers: list[_Answer] = []
        for number, request in enumerate(group.requests):
            has_turn = number == 0 or self._account.await_turn(0)  # the group has paid for its recipients already
            outcomes = self._sender.hand_off(request, clock.permit) if has_turn else [None] * len(request.members)
            for member, outcome in zip(request.members, outcomes, strict=True):
                facts, item = group.items[member]
                settlement = settle(facts, outcome, repeatable=self._sender.repeatable)
                answers.append(_Answer(outcome, settlement, item.address))
        batches = tuple(request.key for request in group.requests if request.body is not None)
        return _Landed(group.token, tuple(answers), batches, started_at, boot_seconds())

    def _land(self) -> None:
        """Wait for the group under way, if one is, and heed its answers."""
        if self._under_way is None:
            return
        under_way, self._under_way = self._under_way, None
        self._heed(under_way.result())

    def _heed(self, landed: _Landed) -> None:
        self._fit_group_to(landed.ended_at - landed.started_at, len(landed.answers))
        self._take_in(landed)

    def _repeat(self, repeat: RepeatableBatch, clock: LeaseClock) -> None:
        self.flush()
        batch = repeat.batch
        started_at = boot_seconds()
        request = HandOff(batch.members, batch.endpoint, zlib.decompress(batch.body), key=batch.id)
        outcomes = dict(zip(batch.members, self._sender.hand_off(request, clock.permit), strict=True))
        answers = tuple(
            _Answer(outcome, settle_repeat(facts, outcome), facts.email)
            for facts in repeat.open_members
            for outcome in [outcomes[facts.delivery_id]]
        )
        self._take_in(_Landed(repeat.token, answers, (batch.id,), started_at, boot_seconds()))
        self.flush()

    def _take_in(self, landed: _Landed) -> None:
        """Heed the answers, and keep them for the next commit."""
        settlements = tuple(answer.settlement for answer in landed.answers)
        is_answered = all(settlement.status is not DeliveryStatus.SENDING for settlement in settlements)
        batches = landed.batches if is_answered else ()
        self._unwritten = _Unwritten(landed.token, settlements, batches, landed.ended_at)
        suppressed = [
            (answer.address, answer.outcome.suppress)
            for answer in landed.answers
            if answer.outcome is not None and answer.outcome.suppress and answer.address
        ]
        for address, reason in suppressed:
            patiently(partial(self._suppress, address, reason), self._stop)
        outcomes = [answer.outcome for answer in landed.answers if answer.outcome is not None]
        self.outcomes.update(outcome.outcome for outcome in outcomes)
        self._suppressed.update(address.casefold() for address, _ in suppressed)
        self._lost_turn = not self._account.heed(outcomes) or self._lost_turn

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
        if not recipients or seconds <= 0:
            return
        rate = recipients / seconds
        self._size = max(1, min(self._sender.batch_size, int(rate * _LONGEST_GROUP_SECONDS)))
        if not self._sender.overlaps and self._sender.rate_limit is None:
            fitting = int(rate * _FACTS_HOLD_SECONDS / self._size)
            self._groups_per_lease = max(1, min(fitting, _MOST_GROUPS_PER_LEASE))


def _grouped(requests: Sequence[HandOff], size: int) -> list[tuple[HandOff, ...]]:
    """In their order, as many to a group as carry no more than `size` recipients together."""
    groups: list[list[HandOff]] = []
    room = 0
    for request in requests:
        if len(request.members) > room:
            groups.append([])
            room = size
        groups[-1].append(request)
        room -= len(request.members)
    return [tuple(group) for group in groups]


def _fixed(request: HandOff) -> FixedBatch | None:
    if request.body is None:
        return None
    return FixedBatch(request.key, request.endpoint, request.members, zlib.compress(request.body, 1))
