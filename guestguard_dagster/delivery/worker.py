"""One channel's hand-offs in one run: lease batches, compose, commit `sending`, hand off, settle with the next commit.

Where a hand-off is one call and a wait, the next batch is leased and composed meanwhile; it leaves once the first is
back. Where it is not, several batches are leased and composed at once.
"""

import logging
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import chain
from threading import Event
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.composing import Composer
from guestguard_dagster.delivery.database_retry import retry_database
from guestguard_dagster.delivery.hand_off import (
    Answered,
    BatchAnswers,
    Ready,
    answers_of,
    ledger_entries,
    make_ready,
    waves_of,
    write_answers,
)
from guestguard_dagster.delivery.leasing import REPEAT_WITHIN, LeaseClock
from guestguard_dagster.delivery.provider_gate import Blocked, ProviderGate, batch_size_of
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.delivery.settling import draw_jitter, settle_repeat
from guestguard_dagster.domain.addresses import email_key
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.domain.suppressions import EVERY_HOST, SuppressionReason, for_sending_number
from guestguard_dagster.senders.base import HandOff
from guestguard_dagster.storage.deliveries import recording
from guestguard_dagster.storage.deliveries.batches import Batch, BatchStale, Lease, Marked
from guestguard_dagster.storage.deliveries.interrupted import RepeatableBatch

log = logging.getLogger(__name__)

_QUEUES_PER_LEASE = 10
# Where nothing limits the rate and nothing overlaps, so many full batches are leased and composed at once.
_FULL_BATCHES_PER_LEASE = 4
_MOST_BATCHES_PER_LEASE = 64
# Messages of a database that is behind its ledger are looked at again after so long.
_STOPPED_FOR = timedelta(minutes=1)


class Worker:
    """Not thread-safe: one thread steps it. Close it in the end.

    A `transactional` worker reserves the provider's rate however long the queue is; broadcasts leave room for it.
    """

    def __init__(
        self,
        sending: SendContext,
        channel: MessageChannel,
        composer: Composer,
        stop: Event,
        *,
        transactional: bool = False,
    ) -> None:
        self._sending = sending
        self._channel = channel
        self._sender = sending.senders.for_channel(channel)
        self._gate = ProviderGate(sending, self._sender, stop, transactional=transactional)
        self._composer = composer
        self._stop = stop
        # in their turn; a run may have thousands of messages
        self._queues: OrderedDict[UUID, None] = OrderedDict()
        self._hand_off_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hand-off")
        self._under_way: Future[Answered] | None = None
        self._unwritten: Answered | None = None
        # the last answers said that the turn that was reserved for what comes next does not hold
        self._has_lost_turn = False
        self._stopped: Blocked | None = None
        self._composed_at = 0.0
        # the keys of addresses that were suppressed since something was composed
        self._suppressed: set[str] = set()
        # A batch that was formed for another provider, or another rate, is cut.
        self._largest_batch = batch_size_of(self._sender)
        self._batches_per_lease = 1
        self.outcomes: Counter[str] = Counter()

    @property
    def blocked(self) -> Blocked | None:
        """Why nothing leaves now, if so: the account takes nothing, or the database is behind its ledger."""
        return self._gate.blocked or self._stopped

    def wake(self, queue_ids: Iterable[UUID]) -> None:
        """Work on these queues, too."""
        self._queues.update(dict.fromkeys(queue_ids))

    def leave(self, queue_ids: Iterable[UUID]) -> None:
        """Work on these queues no more, until they are woken."""
        for queue_id in queue_ids:
            self._queues.pop(queue_id, None)

    def step(self) -> bool:
        """Lease some batches and let them leave; False when none is free now, or when the account takes nothing.

        The last batch may still be under way when this returns: `flush` waits for it.
        """
        if not self._queues or not self._gate.is_open():
            return False
        if self._gate.is_probing:
            self._await_answers()  # nothing leaves beside a probe
            if self.blocked:
                return False
        self._stopped = self._why_stopped()
        self._has_lost_turn = False
        lease = self._lease()
        if lease is None:
            self._gate.return_probe()
            return False
        recipients = sum(len(batch.recipients) for batch in lease.batches)
        # the lease on the last batch does not wait with us
        if not self._gate.await_turn(requests=1, recipients=recipients, before_waiting=self.flush):
            self._release(lease.token, lease.batches)
            return False
        self._send(lease)
        return True

    def recover(self, queue_ids: Sequence[UUID]) -> None:
        """Settle what a dead run left `sending`: repeat what can be repeated, call the rest `unknown`."""
        self._stopped = self._why_stopped()
        if not queue_ids or self._stopped:
            return
        account = self._sender.account if self._sender.repeatable else None
        accounts = [account] if account is not None else []
        settled = self._sending.interrupted.end(queue_ids, accounts=accounts, within=REPEAT_WITHIN)
        self.outcomes[OutcomeClass.UNKNOWN] += settled
        while account is not None and not self._stop.is_set() and self._gate.is_open():
            clock = LeaseClock(self._stop, self._sending.lease_time)
            repeatable = self._sending.interrupted.lease_repeatable(
                queue_ids, account=account, within=REPEAT_WITHIN, duration=self._sending.lease_time
            )
            if repeatable is None:
                break
            members = len(repeatable.request.members)
            if not self._gate.await_turn(requests=1, recipients=members, before_waiting=self.flush):
                break
            self._repeat(repeatable, clock)

    def take_over(self) -> list[UUID]:
        """The messages that other runs left to this one, because it uses the whole rate of the account."""
        return (
            self._sending.run_requests.take_over(reason=self._gate.left_to_another_run)
            if self._gate.stay_sole()
            else []
        )

    def flush(self) -> None:
        """Wait for the batch under way, and write down what it brought. Waits for the database if it is away."""
        self._await_answers()
        if self._unwritten is None:
            return
        unwritten = self._unwritten

        def write() -> None:
            with self._sending.database.transaction() as connection:
                write_answers(connection, self._sending, unwritten)

        retry_database(write, self._stop)
        self._unwritten = None

    def close(self) -> None:
        """Flush, and leave the account to others."""
        try:
            self.flush()
            self._gate.leave()
        finally:
            self._hand_off_thread.shutdown()

    # --- from a lease to the hand-off ------------------------------------------------------------------------------

    def _lease(self) -> Lease | None:
        """Free batches of the next queues, in turn, cut to what may leave at once; None when no batch is free."""
        while self._queues:
            window = [self._queues.popitem(last=False)[0] for _ in range(min(len(self._queues), _QUEUES_PER_LEASE))]
            limit = 1 if self._gate.is_probing else self._batches_per_lease
            per_queue = -(-limit // len(window))
            lease = self._sending.batches.lease(
                window, limit=limit, per_queue=per_queue, duration=self._sending.lease_time
            )
            leased = Counter(batch.queue_id for batch in lease.batches)
            # Whoever found no room comes first next time; whoever got its share may have more.
            is_full = len(lease.batches) == limit
            for queue_id in reversed(window):
                if is_full and not leased[queue_id]:
                    self._queues[queue_id] = None
                    self._queues.move_to_end(queue_id, last=False)
            self.wake(id for id in window if leased[id] and (is_full or leased[id] == per_queue))
            if lease.batches:
                self._fit_lease_to(lease)
                return replace(lease, batches=tuple(map(self._cut, lease.batches)))
        return None

    def _fit_lease_to(self, lease: Lease) -> None:
        """Small batches are leased many at a time."""
        if self._sender.overlaps or self._sender.rate_limit is not None:
            return
        recipients = sum(len(batch.recipients) for batch in lease.batches)
        wanted = self._sender.batch_size * _FULL_BATCHES_PER_LEASE * len(lease.batches) // max(recipients, 1)
        self._batches_per_lease = max(1, min(wanted, _MOST_BATCHES_PER_LEASE))

    def _cut(self, batch: Batch) -> Batch:
        """A probe is one recipient, and some rates take few: the others form a batch of their own."""
        size = 1 if self._gate.is_probing else self._largest_batch
        if len(batch.recipients) <= size:
            return batch
        with self._sending.database.transaction() as connection:
            rest = [facts.delivery_id for facts in batch.recipients[size:]]
            self._sending.batches.move(connection, rest, batch)
        self.wake([batch.queue_id])
        return replace(batch, recipients=batch.recipients[:size])

    def _send(self, lease: Lease) -> None:
        ready, stopped = self._make_ready(lease)
        self._await_answers()
        if not all(map(self._holds, ready)):
            self.leave(stopped)
            ready, stopped = self._make_ready(replace(lease, batches=tuple(each.batch for each in ready)))
        self.leave(stopped)
        waves = waves_of(ready, self._largest_batch)
        while waves:
            self._await_answers()
            if self._has_lost_turn or self._stop.is_set() or not all(map(self._holds, waves[0])):
                break
            if not self._leaves(lease.token, waves.pop(0)):
                break
        self._release(lease.token, [each.batch for each in chain.from_iterable(waves)])

    def _make_ready(self, lease: Lease) -> tuple[list[Ready], frozenset[UUID]]:
        """What leaves of each batch, and the messages that are stopped: their batches are given back."""
        self._suppressed.clear()
        ready, stopped = make_ready(self._sending, self._sender, self._composer, lease)
        self._composed_at = boot_seconds()
        if stopped:
            self._release(lease.token, [batch for batch in lease.batches if batch.queue_id in stopped], wakes=False)
        return ready, stopped

    def _holds(self, ready: Ready) -> bool:
        """Whether this batch may still leave as it was composed."""
        if boot_seconds() - self._composed_at > self._sending.pace.facts_hold.total_seconds():
            return False
        return not self._suppressed or not any(
            email_key(item.address) in self._suppressed for _, item in ready.items.values()
        )

    def _leaves(self, token: UUID, wave: Sequence[Ready]) -> bool:
        """Let these batches leave together; False when they may not any more."""
        clock = LeaseClock(self._stop, self._sending.lease_time)
        try:
            marked = self._commit(token, wave)
            self._require_known_ledger(wave, marked)
        except BatchStale as stale:
            log.info("batches are looked at again: %s", stale)
            self._composer.forget()
            self.flush()
            # A commit whose answer was lost may have marked them: nothing of them has left.
            self._release(token, [ready.batch for ready in wave], marked_too=True)
            return False
        recorded = self._sending.ledger.record(ledger_entries(self._sending, self._sender, wave, marked))
        self.outcomes.update(refusal.status for ready in wave for refusal in ready.refusals)
        if self._sender.overlaps:
            self._under_way = self._hand_off_thread.submit(self._hand_off, token, wave, clock, recorded)
        else:
            self._take_in(self._hand_off(token, wave, clock, recorded))
        return True

    def _why_stopped(self) -> Blocked | None:
        guard = self._sending.ledger_guard
        may_send = retry_database(guard.may_send, self._stop)
        return None if may_send else Blocked(_STOPPED_FOR, guard.standing.sentence)

    def _require_known_ledger(self, wave: Sequence[Ready], marked: Marked | None) -> None:
        """Raises BatchStale when these were marked in a database that is behind its ledger, as after a failover."""
        guard = self._sending.ledger_guard
        for ready in wave:
            may_send = partial(guard.may_send, ready.batch.queue_id, marked_in=marked.database if marked else None)
            if not retry_database(may_send, self._stop):
                raise BatchStale(guard.standing.sentence)

    def _commit(self, token: UUID, wave: Sequence[Ready]) -> Marked | None:
        """In one durable transaction: what the last batches brought, and that these are about to leave.

        Returns None when none of them has anybody to leave for. Raises BatchStale.
        """
        refusals = list(chain.from_iterable(ready.refusals for ready in wave))
        leaving = [(ready.batch, ready.fixed_request) for ready in wave if ready.requests]
        empty = [ready.batch.id for ready in wave if not ready.requests]
        unwritten = self._unwritten

        def commit() -> Marked | None:
            with self._sending.database.transaction() as connection:
                if unwritten is not None:
                    write_answers(connection, self._sending, unwritten)
                recording.refuse(connection, refusals)
                if empty:
                    self._sending.batches.close(connection, token, empty)
                if not leaving:
                    return None
                return self._sending.batches.mark_sending(
                    connection,
                    token,
                    leaving,
                    provider=self._sender.provider,
                    account=self._sender.account,
                    run_id=self._sending.run_id,
                    duration=self._sending.lease_time,
                )

        marked = retry_database(commit, self._stop)
        self._unwritten = None
        return marked

    def _hand_off(self, token: UUID, wave: Sequence[Ready], clock: LeaseClock, recorded: bool) -> Answered:
        """Touches nothing of the worker that changes: it may run in a thread of its own."""
        answers: list[BatchAnswers] = []
        for ready in wave:
            outcomes: dict[int, Outcome | None] = {}
            for request in ready.requests:
                has_turn = (not answers and not outcomes) or self._gate.await_turn(requests=1, recipients=0)
                answered = self._sender.hand_off(request, clock.permit) if has_turn else [None] * len(request.members)
                outcomes.update(zip(request.members, answered, strict=True))
            answers.append(self._answers_of(ready, outcomes))
        return self._answered(token, answers, recorded=recorded)

    def _answered(self, token: UUID, answers: Iterable[BatchAnswers], *, recorded: bool = False) -> Answered:
        account = self._sender.account
        return Answered(token, self._sender.provider, account, tuple(answers), boot_seconds(), recorded=recorded)

    def _answers_of(self, ready: Ready, outcomes: dict[int, Outcome | None]) -> BatchAnswers:
        first_backoff = self._sending.pace.first_backoff
        return answers_of(ready, outcomes, repeatable=self._sender.repeatable, first_backoff=first_backoff)

    def _repeat(self, repeatable: RepeatableBatch, clock: LeaseClock) -> None:
        self.flush()
        batch, fixed = repeatable.batch, repeatable.request
        request = HandOff(fixed.members, fixed.endpoint, zlib.decompress(fixed.body), key=batch.key)
        outcomes = dict(zip(fixed.members, self._sender.hand_off(request, clock.permit), strict=True))
        jitter, first_backoff = draw_jitter(), self._sending.pace.first_backoff
        settlements = tuple(
            settle_repeat(facts, outcomes[facts.delivery_id], jitter=jitter, first_backoff=first_backoff)
            for facts in batch.recipients
        )
        addresses = {facts.delivery_id: facts.email or "" for facts in batch.recipients}
        self._take_in(self._answered(repeatable.token, [BatchAnswers(batch, settlements, addresses)]))
        self.flush()

    # --- from the answers to the rows ------------------------------------------------------------------------------

    def _await_answers(self) -> None:
        """Wait for the batches under way, if some are, and take their answers in."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            self._take_in(under_way.result())

    def _take_in(self, answered: Answered) -> None:
        """Act upon the answers, and keep them for the next commit."""
        self._unwritten = answered
        outcomes = []
        for batch in answered.batches:
            for settlement in batch.settlements:
                if settlement.outcome is None:
                    continue
                outcomes.append(settlement.outcome)
                address = batch.addresses.get(settlement.delivery_id)
                if settlement.outcome.suppress and address:
                    retry_database(partial(self._suppress, address, settlement.outcome.suppress), self._stop)
                    self._suppressed.add(email_key(address))
            if any(settlement.is_open for settlement in batch.settlements):
                self.wake([batch.batch.queue_id])
        self.outcomes.update(outcome.outcome for outcome in outcomes)
        self._has_lost_turn = not self._gate.note(outcomes) or self._has_lost_turn

    def _suppress(self, address: str, reason: str) -> None:
        number = self._sending.senders.sending_number
        scope = for_sending_number(number) if reason == SuppressionReason.STOP and number else EVERY_HOST
        self._sending.suppressions.add(self._channel, address, scope=scope, reason=reason, source=self._sender.provider)

    def _release(self, token: UUID, batches: Sequence[Batch], *, marked_too: bool = False, wakes: bool = True) -> None:
        if batches:
            self._sending.batches.release(token, [batch.id for batch in batches], marked_too=marked_too)
            if wakes:
                self.wake({batch.queue_id for batch in batches})
