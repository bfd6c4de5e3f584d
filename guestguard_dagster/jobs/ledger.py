"""What an operator does after a restore or a failover: replay the ledger, so that nothing is sent twice."""

from collections.abc import Mapping
from uuid import UUID

from dagster import (
    Config,
    Failure,
    MetadataValue,
    OpExecutionContext,
    TableColumn,
    TableMetadataValue,
    TableRecord,
    TableSchema,
    in_process_executor,
    job,
    op,
)
from pydantic import Field

from guestguard_dagster.jobs.instants import instant
from guestguard_dagster.jobs.queues import EVENT_QUEUE
from guestguard_dagster.operations.ledger_replay import ReplayRefused, ReplayReport, replay
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.nats import NatsResource
from guestguard_dagster.streams.errors import StreamFailed

_MOST_ROWS = 500


class LedgerReplay(Config):
    """Without anything given, the ledger says what the restored database has lost."""

    dry_run: bool = Field(default=False, description="only say what would be changed")
    lost_at: str | None = Field(
        default=None,
        description="from then on the lost database cannot have sent anything, such as 2026-12-05T18:30:00+01:00",
    )
    restored_to: str | None = Field(
        default=None,
        description="the instant whose state was restored; only where the check could not find out by itself",
    )


@op(description="What had left is marked as unknown, what may have left is held, and the rest goes on.")
def replay_what_left(
    context: OpExecutionContext, config: LedgerReplay, database: DatabaseResource, nats: NatsResource
) -> None:
    try:
        with nats.open_ledger() as ledger:
            report = replay(
                database.get(),
                ledger,
                dry_run=config.dry_run,
                restored_to=instant("restored_to", config.restored_to),
                lost_at=instant("lost_at", config.lost_at),
            )
    except (ReplayRefused, StreamFailed) as problem:
        raise Failure(str(problem)) from None
    for sentence in report.sentences():
        context.log.info(sentence)
    context.add_output_metadata(
        {
            "dry run": report.dry_run,
            "batches that had left": report.batches,
            "deliveries now unknown": sum(report.changed.values()) + report.others_changed,
            "gaps": len(report.gaps),
            "messages held": len(report.held_messages),
            "messages": _table(report, report.left),
            "messages that are not here any more": _table(report, report.unknown_messages),
        }
    )


@job(
    executor_def=in_process_executor,
    tags=EVENT_QUEUE,
    description="After a restore or a failover: marks what had left as unknown, holds what may have left, and lets the "
    "rest go on. Safe to repeat. Then run replay_events.",
)
def replay_ledger() -> None:
    replay_what_left()


def _table(report: ReplayReport, left: Mapping[UUID, int]) -> TableMetadataValue:
    held = set(report.held_messages)
    ids = [*left, *(id for id in report.held_messages if id not in left)] if left is report.left else list(left)
    records = [
        TableRecord(
            {
                "message": str(id),
                "guests who have it": left.get(id, 0),
                "now unknown": report.changed[id],
                "held": id in held,
            }
        )
        for id in ids[:_MOST_ROWS]
    ]
    columns = ("message", "guests who have it", "now unknown", "held")
    return MetadataValue.table(records, schema=TableSchema([TableColumn(name) for name in columns]))
