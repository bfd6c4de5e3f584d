"""What becomes of deliveries: the one place that writes their status once they are frozen.

A row is written when its outcome is known. Its newest attempt lives in it; an attempt that is followed by another one
gets a row of its own. Rows move forward by the moves of `domain.deliveries`; the WHERE clauses here are those moves.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, literal, or_, select, update

from guestguard_dagster.domain.deliveries import (
    HANDED_OFF_STATUSES,
    BatchState,
    DeliveryReport,
    DeliveryStatus,
    RetryFilter,
    SkipReason,
)
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.storage.database import sql
from guestguard_dagster.storage.errors import DeliveryNotFound
from guestguard_dagster.storage.tables.deliveries import delivery_attempts, delivery_batches
from guestguard_dagster.storage.tables.deliveries import message_deliveries as deliveries

# By then, a provider that took the mail before the answer was lost has called back or delivered it.
_UNKNOWN_RESTS_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A delivery that is settled without a hand-off: skipped, suppressed, or failed by its own content."""

    delivery_id: int
    status: DeliveryStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one hand-off means for its delivery. `outcome` is None when the mail certainly never left.

    `status` is what it becomes: settled, `pending` again (tried again after `wait`), or `sending` still (its fixed
    request is repeated after `wait`). `counts` says that it counts as a try that was answered "not now", and
    `blames_recipient` that a provider-wide answer may have been about this recipient alone.
    """

    delivery_id: int
    round: int
    status: DeliveryStatus
    outcome: Outcome | None
    reason: str | None = None
    retryable: bool = False
    counts: bool = False
    blames_recipient: bool = False
    wait: timedelta | None = None

    @property
    def is_attempt(self) -> bool:
        """Somebody answered for this recipient."""
        return self.outcome is not None and self.outcome.outcome is not OutcomeClass.UNAVAILABLE

    @property
    def is_open(self) -> bool:
        return not self.status.is_settled


class _Alike(NamedTuple):
    """What is the same for settlements that one statement writes."""

    status: DeliveryStatus
    reason: str | None
    retryable: bool
    counts: bool
    blames_recipient: bool
    outcome: OutcomeClass
    error_class: str | None
    error_code: str | None
    error_detail: str | None


def live_status() -> ColumnElement[str]:
    """How a delivery stands, `sending` included; the query joins its batch (LEFT)."""
    is_sending = and_(deliveries.c.status == DeliveryStatus.PENDING, delivery_batches.c.state == BatchState.SENDING)
    return case((is_sending, literal(DeliveryStatus.SENDING.value)), else_=deliveries.c.status)


def refuse(connection: Connection, refusals: Sequence[Refusal]) -> None:
    """Settle pending deliveries that are not to be handed off; the caller holds their batches, or their message."""
    if not refusals:
        return
    connection.execute(
        sql(
            """
            UPDATE message_deliveries d
            SET status = r.status, reason = r.reason, retryable = false,
                settled_at = clock_timestamp(), updated_at = clock_timestamp()
            FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]))
                AS r (id, status, reason)
            WHERE d.id = r.id AND d.status = 'pending'
            """
        ),
        {
            "ids": [refusal.delivery_id for refusal in refusals],
            "statuses": [refusal.status for refusal in refusals],
            "reasons": [refusal.reason for refusal in refusals],
        },
    )


def settle(
    connection: Connection,
    settlements: Sequence[Settlement],
    *,
    held: Collection[int],
    provider: str,
    account: str,
    run_id: str,
    ago: timedelta,
) -> None:
    """Write down what hand-offs brought; the answers came `ago` before now. Safe to repeat.

    A delivery moves when its batch is among `held`, the ids of batches that this transaction ends; or, taken over
    meanwhile, when the answer proves a hand-off that nobody knew of.
    """
    alike: defaultdict[_Alike, list[Settlement]] = defaultdict(list)
    for settlement in settlements:
        if settlement.is_attempt:
            alike[_alike(settlement)].append(settlement)
    for kind, members in alike.items():
        values = {
            **kind._asdict(),
            "ids": [each.delivery_id for each in members],
            "rounds": [each.round for each in members],
            "message_ids": [each.outcome and each.outcome.provider_message_id for each in members],
            "durations": [each.outcome.duration_ms if each.outcome else 0 for each in members],
            "held": list(held),
            "provider": provider,
            "account": account,
            "ago": ago,
        }
        if kind.status in (DeliveryStatus.PENDING, DeliveryStatus.SENDING):
            connection.execute(sql(_KEEP_TRYING), values | {"run_id": run_id})
        else:
            connection.execute(sql(_SETTLE), values)


_NEWS = """
    unnest(CAST(:ids AS bigint[]), CAST(:rounds AS int[]), CAST(:message_ids AS text[]), CAST(:durations AS int[]))
        AS n (id, round, provider_message_id, duration_ms)
"""
_SETTLE = f"""
    UPDATE message_deliveries d
    SET status = :status, reason = :reason, retryable = :retryable,
        attempts = d.attempts + CAST(:counts AS int),
        provider_refusals = d.provider_refusals + CAST(:blames_recipient AS int),
        attempted_at = clock_timestamp() - CAST(:ago AS interval), outcome = :outcome,
        error_class = :error_class, error_code = :error_code, error_detail = :error_detail,
        duration_ms = n.duration_ms, provider = :provider, account = :account,
        provider_message_id = COALESCE(n.provider_message_id, d.provider_message_id),
        handed_off_at = CASE WHEN :status = 'sent' THEN clock_timestamp() - CAST(:ago AS interval)
            ELSE d.handed_off_at END,
        settled_at = clock_timestamp(), updated_at = clock_timestamp()
    FROM {_NEWS}
    WHERE d.id = n.id AND (
        (d.status = 'pending' AND d.batch_id = ANY(CAST(:held AS bigint[])))
        OR (:status = 'sent' AND d.status IN ('pending', 'unknown', 'failed'))
        OR (:status = 'failed' AND d.status = 'unknown' AND d.round = n.round)
    )
"""
# Another attempt follows: this one gets a row of its own.
_KEEP_TRYING = f"""
    WITH tried AS (
        UPDATE message_deliveries d
        SET reason = :reason, attempts = d.attempts + CAST(:counts AS int),
            provider_refusals = d.provider_refusals + CAST(:blames_recipient AS int),
            first_attempt_at = COALESCE(d.first_attempt_at, clock_timestamp() - CAST(:ago AS interval)),
            error_class = :error_class, error_code = :error_code, error_detail = :error_detail,
            provider = :provider, account = :account, updated_at = clock_timestamp()
        FROM {_NEWS}
        WHERE d.id = n.id AND d.status = 'pending' AND d.batch_id = ANY(CAST(:held AS bigint[]))
        RETURNING d.id, n.round, n.provider_message_id, n.duration_ms
    )
    INSERT INTO delivery_attempts (delivery_id, round, run_id, provider, account, outcome,
        provider_message_id, error_class, error_code, error_detail, duration_ms, attempted_at)
    SELECT id, round, :run_id, :provider, :account, :outcome, provider_message_id,
        :error_class, :error_code, :error_detail, duration_ms, clock_timestamp() - CAST(:ago AS interval)
    FROM tried
"""


def record(connection: Connection, delivery_id: int, report: DeliveryReport) -> DeliveryStatus:
    """Move one delivery by the report, if its state allows the move; returns its status then. Raises DeliveryNotFound.

    Only what settles it counts: whether it is pending or `sending` is the engine's to say.
    """
    locked = (
        select(deliveries.c.batch_id, live_status().label("live"))
        .select_from(deliveries)
        .join(delivery_batches, delivery_batches.c.id == deliveries.c.batch_id, isouter=True)
        .where(deliveries.c.id == delivery_id)
        .with_for_update(key_share=True, of=deliveries)
    )
    known = connection.execute(locked).one_or_none()
    if known is None:
        raise DeliveryNotFound(delivery_id)
    status = DeliveryStatus(known.live)
    if not (report.status.is_settled and status.can_become(report.status)):
        return status
    values: dict[str, Any] = {
        "status": report.status,
        "reason": report.reason,
        "retryable": report.retryable,
        "error_class": report.error_class,
        "error_code": report.error_code,
        "error_detail": report.error_detail,
        "provider_message_id": func.coalesce(report.provider_message_id, deliveries.c.provider_message_id),
        "settled_at": func.clock_timestamp(),
        "updated_at": func.clock_timestamp(),
    }
    if report.status in HANDED_OFF_STATUSES:
        values["handed_off_at"] = func.coalesce(deliveries.c.handed_off_at, func.clock_timestamp())
    connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(values))
    if status is DeliveryStatus.SENDING:
        _close_if_settled(connection, known.batch_id)
    return report.status


def _close_if_settled(connection: Connection, batch_id: int) -> None:
    """Nobody waits for the lease of a batch of which nothing is open any more."""
    connection.execute(
        sql(
            """
            UPDATE delivery_batches b SET state = 'done', lease_token = NULL, lease_expires_at = NULL
            WHERE b.id = :id AND b.state = 'sending' AND NOT EXISTS (
                SELECT FROM message_deliveries d WHERE d.batch_id = b.id AND d.status = 'pending')
            """
        ),
        {"id": batch_id},
    )


def reopen(connection: Connection, message_id: UUID, which: RetryFilter, *, batch_size: int) -> int:
    """Start a new round for the deliveries that may be tried again, in new batches of at most `batch_size`.

    Returns how many. The message is locked.
    """
    place = func.row_number().over(order_by=deliveries.c.id) - 1
    chosen = (
        select(deliveries.c.id, (place // batch_size).label("number"))
        .where(deliveries.c.message_id == message_id, may_be_retried(which))
        .cte("chosen")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    connection.execute(
        insert(delivery_attempts).from_select(
            _ATTEMPT_COLUMNS,
            select(
                deliveries.c.id,
                deliveries.c.round,
                delivery_batches.c.run_id,
                *(deliveries.c[name] for name in _ATTEMPT_COLUMNS[3:-1]),
                func.coalesce(deliveries.c.duration_ms, 0),
            )
            .join(chosen, chosen.c.id == deliveries.c.id)
            .join(delivery_batches, delivery_batches.c.id == deliveries.c.batch_id, isouter=True)
            .where(deliveries.c.attempted_at.is_not(None)),
        )
    )
    formed = (
        insert(delivery_batches)
        .from_select(
            ["queue_id", "message_id", "size"],
            select(literal(message_id), literal(message_id), func.count())
            .select_from(chosen)
            .group_by(chosen.c.number)
            .order_by(chosen.c.number),
        )
        .returning(delivery_batches.c.id)
        .cte("formed")
    )
    numbered = select(formed.c.id, (func.row_number().over(order_by=formed.c.id) - 1).label("number")).cte("numbered")
    statement = (
        update(deliveries)
        .where(deliveries.c.id == chosen.c.id, numbered.c.number == chosen.c.number)
        .values(
            status=DeliveryStatus.PENDING,
            batch_id=numbered.c.id,
            round=deliveries.c.round + 1,
            reason=None,
            retryable=False,
            attempts=0,
            first_attempt_at=None,
            provider_refusals=0,
            attempted_at=None,
            outcome=None,
            error_class=None,
            error_code=None,
            error_detail=None,
            duration_ms=None,
            provider_message_id=None,
            settled_at=None,
            updated_at=func.clock_timestamp(),
        )
    )
    return connection.execute(statement).rowcount


_ATTEMPT_COLUMNS = [
    *("delivery_id", "round", "run_id", "provider", "account", "outcome", "provider_message_id"),
    *("error_class", "error_code", "error_detail", "attempted_at", "duration_ms"),
]


def may_be_retried(which: RetryFilter) -> ColumnElement[bool]:
    """The rows of message_deliveries that a retry would open."""
    wanted = or_(
        and_(deliveries.c.status == DeliveryStatus.FAILED, deliveries.c.retryable),
        and_(deliveries.c.status == DeliveryStatus.SKIPPED, deliveries.c.reason == SkipReason.LOG_BACKEND),
    )
    if which.error_classes is not None:
        wanted = and_(wanted, deliveries.c.error_class.in_(which.error_classes))
    if which.unknown_too:
        wanted = or_(wanted, _unknown_for_long())
    return wanted if which.providers is None else and_(wanted, deliveries.c.provider.in_(which.providers))


def _unknown_for_long() -> ColumnElement[bool]:
    return and_(
        deliveries.c.status == DeliveryStatus.UNKNOWN,
        deliveries.c.settled_at <= func.clock_timestamp() - _UNKNOWN_RESTS_FOR,
    )


def _alike(settlement: Settlement) -> _Alike:
    outcome = settlement.outcome
    if outcome is None:
        raise ValueError("a hand-off without an answer is no attempt")
    return _Alike(
        settlement.status,
        settlement.reason,
        settlement.retryable,
        settlement.counts,
        settlement.blames_recipient,
        outcome.outcome,
        outcome.error_class,
        outcome.error_code,
        outcome.detail,
    )
