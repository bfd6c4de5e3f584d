"""What surrounds a hand-off: from a leased batch to its requests, and from the answers back to the rows.

A recipient that cannot be composed fails alone, whatever the reason is.
"""

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.composing import Composed, Composer
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.delivery.settling import draw_jitter, settle, weigh
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.ledger import LedgerEntry
from guestguard_dagster.domain.outcomes import Outcome
from guestguard_dagster.senders.base import HandOff, Mail, Sender, Text
from guestguard_dagster.storage.database import DatabaseFailed
from guestguard_dagster.storage.deliveries import recording
from guestguard_dagster.storage.deliveries.batches import Batch, FixedRequest, Lease, Marked
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.deliveries.recording import Refusal, Settlement

log = logging.getLogger(__name__)

T = TypeVar("T")

_Items = list[tuple[RecipientFacts, Mail | Text]]


@dataclass(frozen=True, slots=True)
class Ready:
    """A leased batch that may leave: its requests, none if nobody is left, and who is settled without one.

    A request without a body cannot be repeated, or is answered without a call; of those with one there is one at most.
    """

    batch: Batch
    requests: tuple[HandOff, ...]
    items: Mapping[int, tuple[RecipientFacts, Mail | Text]]
    refusals: Sequence[Refusal] = ()

    @property
    def fixed_request(self) -> FixedRequest | None:
        """What would be repeated, where the provider recognises a repeat."""
        for request in self.requests:
            if request.body is not None:
                return FixedRequest(request.endpoint, request.members, zlib.compress(request.body, 1))
        return None


@dataclass(frozen=True, slots=True)
class BatchAnswers:
    """What the provider said about the members of one batch, and the addresses that they were handed off to."""

    batch: Batch
    settlements: tuple[Settlement, ...]
    addresses: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Answered:
    """What hand-offs under one lease brought, kept until the next commit writes it down.

    `recorded` says that the batches are in the ledger.
    """

    token: UUID
    provider: str
    account: str
    batches: tuple[BatchAnswers, ...]
    answered_at: float
    recorded: bool


def make_ready(
    sending: SendContext, sender: Sender[Any], composer: Composer, lease: Lease
) -> tuple[list[Ready], frozenset[UUID]]:
    """Compose the batches of this lease, as things stand now; and the queues that are stopped.

    A batch that takes several fixed requests is cut: each request has a batch, and so a key, of its own.
    """
    composed = _compose(composer, [facts for batch in lease.batches for facts in batch.recipients])
    items_of: dict[int, _Items] = {batch.id: [] for batch in lease.batches}
    refusals_of: dict[int, list[Refusal]] = {batch.id: [] for batch in lease.batches}
    batch_of = {facts.delivery_id: batch.id for batch in lease.batches for facts in batch.recipients}
    for item in composed.items:
        items_of[batch_of[item[0].delivery_id]].append(item)
    for refusal in composed.refusals:
        refusals_of[batch_of[refusal.delivery_id]].append(refusal)
    ready = []
    for batch in lease.batches:
        if batch.queue_id in composed.stopped:
            continue
        items, requests = _prepare(sender, items_of[batch.id], refusals_of[batch.id])
        ready += _each_fixed_request_apart(sending, lease.token, batch, requests, items, refusals_of[batch.id])
    return ready, composed.stopped


def ledger_entries(
    sending: SendContext, sender: Sender[Any], wave: Sequence[Ready], marked: Marked | None
) -> list[LedgerEntry]:
    """What is to be written down of these batches before they leave; nothing where no ledger is kept."""
    if marked is None or not sending.ledger.is_kept:
        return []
    return [
        LedgerEntry(
            batch_id=ready.batch.id,
            key=ready.batch.key,
            queue_id=ready.batch.queue_id,
            message_id=ready.batch.message_id,
            recipients=tuple(facts.recipient_id for facts, _ in ready.items.values()),
            handed_off_at=marked.instants[ready.batch.id],
            highest_delivery_id=max(ready.items),
            provider=sender.provider,
            account=sender.account,
            repeatable=sender.repeatable,
            installation_id=UUID(sending.installation.id),
        )
        for ready in wave
        if ready.batch.id in marked.instants
    ]


def waves_of(ready: Sequence[Ready], size: int) -> list[list[Ready]]:
    """In their order, as many batches to one commit as carry no more than `size` recipients together."""
    waves: list[list[Ready]] = []
    room = 0
    for each in ready:
        if len(each.items) > room or not waves:
            waves.append([])
            room = size
        waves[-1].append(each)
        room -= len(each.items)
    return waves


def answers_of(
    ready: Ready, outcomes: Mapping[int, Outcome | None], *, repeatable: bool, first_backoff: timedelta
) -> BatchAnswers:
    """What the provider's outcomes, by delivery, mean for the members of this batch."""
    recipients = [facts for facts, _ in ready.items.values()]
    weighed = weigh(recipients, [outcomes[facts.delivery_id] for facts in recipients])
    jitter = draw_jitter()
    return BatchAnswers(
        ready.batch,
        tuple(
            settle(facts, outcome, repeatable=repeatable, jitter=jitter, first_backoff=first_backoff)
            for facts, outcome in zip(recipients, weighed, strict=True)
        ),
        {facts.delivery_id: item.address for facts, item in ready.items.values()},
    )


def write_answers(connection: Connection, sending: SendContext, answered: Answered) -> None:
    """Settle the members, end their batches, and form new ones of those that are to be tried again. Safe to repeat."""
    batches, token = sending.batches, answered.token
    repeated = {each.batch.id: wait for each in answered.batches if (wait := _repeat_in(each)) is not None}
    held: set[int] = set()
    for wait in {None, *repeated.values()}:
        ids = [each.batch.id for each in answered.batches if repeated.get(each.batch.id) == wait]
        held |= batches.close(connection, token, ids, recorded=answered.recorded, repeat_in=wait) if ids else set()
    recording.settle(
        connection,
        [settlement for each in answered.batches for settlement in each.settlements],
        held=held,
        provider=answered.provider,
        account=answered.account,
        run_id=sending.run_id,
        ago=timedelta(seconds=boot_seconds() - answered.answered_at),
    )
    for each in answered.batches:
        if each.batch.id in held and each.batch.id not in repeated:
            _form_new_batches(connection, sending, each)


def _form_new_batches(connection: Connection, sending: SendContext, answers: BatchAnswers) -> None:
    """Those who are tried again leave with others that wait equally long."""
    waiting: dict[timedelta | None, list[int]] = {}
    for settlement in answers.settlements:
        if settlement.status is DeliveryStatus.PENDING:
            waiting.setdefault(settlement.wait, []).append(settlement.delivery_id)
    for wait, delivery_ids in waiting.items():
        sending.batches.move(connection, delivery_ids, answers.batch, wait=wait)


def _repeat_in(answers: BatchAnswers) -> timedelta | None:
    waits = [s.wait for s in answers.settlements if s.status is DeliveryStatus.SENDING and s.wait is not None]
    return max(waits, default=None)


def _compose(composer: Composer, recipients: Sequence[RecipientFacts]) -> Composed:
    parts = fault_by_fault(composer.compose, recipients, refused=lambda refusal: Composed([], [refusal], frozenset()))
    composed = Composed([], [], frozenset())
    for part in parts:
        composed.items.extend(part.items)
        composed.refusals.extend(part.refusals)
        composed = replace(composed, stopped=composed.stopped | part.stopped)
    return composed


def fault_by_fault(
    work: Callable[[Sequence[RecipientFacts]], T],
    recipients: Sequence[RecipientFacts],
    *,
    refused: Callable[[Refusal], T],
) -> list[T]:
    """What `work` makes of all of them together; where one breaks it, of each alone, and of that one a refusal.

    Raises DatabaseFailed, which is nobody's fault.
    """
    try:
        return [work(recipients)]
    except DatabaseFailed:
        raise
    except Exception:
        return [_alone(work, facts, refused) for facts in recipients]


def _alone(work: Callable[[Sequence[RecipientFacts]], T], facts: RecipientFacts, refused: Callable[[Refusal], T]) -> T:
    try:
        return work([facts])
    except DatabaseFailed:
        raise
    except Exception as error:
        return refused(refusal_of(facts.delivery_id, error))


def refusal_of(delivery_id: int, error: Exception) -> Refusal:
    """A recipient for whom no mail or text can be made fails alone. The error's text may hold an address."""
    log.error("delivery %s cannot be composed: %s; it fails alone", delivery_id, type(error).__name__)
    reason = f"it cannot be composed ({type(error).__name__}); correct the guest, the message or the event"
    return Refusal(delivery_id, DeliveryStatus.FAILED, reason)


def _prepare(sender: Sender[Any], items: _Items, refusals: list[Refusal]) -> tuple[_Items, list[HandOff]]:
    """The requests of these items, and the items that are in them; those that fit in none are added to `refusals`."""
    if not items:
        return [], []
    try:
        return items, sender.prepare([item for _, item in items])
    except Exception:
        fitting = [(facts, item) for facts, item in items if _fits(sender, facts, item, refusals)]
    return fitting, sender.prepare([item for _, item in fitting]) if fitting else []


def _fits(sender: Sender[Any], facts: RecipientFacts, item: Mail | Text, refusals: list[Refusal]) -> bool:
    try:
        sender.prepare([item])
    except Exception as error:
        refusals.append(refusal_of(facts.delivery_id, error))
        return False
    return True


def _each_fixed_request_apart(
    sending: SendContext,
    token: UUID,
    batch: Batch,
    requests: Sequence[HandOff],
    items: _Items,
    refusals: Sequence[Refusal],
) -> list[Ready]:
    by_id = {facts.delivery_id: (facts, item) for facts, item in items}
    fixed = [request for request in requests if request.body is not None]
    apart = fixed[1:]
    own = tuple(replace(request, key=batch.key) for request in requests if request not in apart)
    moved = {member for request in apart for member in request.members}
    staying = {id: item for id, item in by_id.items() if id not in moved}
    recipients = tuple(facts for facts in batch.recipients if facts.delivery_id not in moved)
    ready = [Ready(replace(batch, recipients=recipients), own, staying, refusals)]
    for request in apart:
        with sending.database.transaction() as connection:
            another = sending.batches.move(connection, request.members, batch, token=token, duration=sending.lease_time)
        members = {id: by_id[id] for id in request.members}
        formed = replace(
            batch, id=another.id, key=another.key, recipients=tuple(facts for facts, _ in members.values())
        )
        ready.append(Ready(formed, (replace(request, key=formed.key),), members))
    return ready
