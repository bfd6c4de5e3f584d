"""What a send run shows of its messages: a table with a link to each event, and the outcomes by class."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from dagster import MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from guestguard_dagster.delivery.mark_sent import FinishReport
from guestguard_dagster.delivery.send_context import SendContext

_MOST_ROWS = 500
_COLUMNS = ("event", "kind", "status", "recipients", "due", "why", "message", "link")


def messages_table(sending: SendContext, message_ids: Sequence[UUID], public_base_url: str) -> TableMetadataValue:
    """One row per message as it stands now; the first 500 of a run."""
    contexts = sending.contexts.load(list(message_ids[:_MOST_ROWS]))
    records = [
        TableRecord(
            {
                "event": context.event.name,
                "kind": f"{context.message.kind.label}, {context.message.channel}",
                "status": context.message.status.value,
                "recipients": "" if context.message.recipient_count is None else str(context.message.recipient_count),
                "due": context.message.send_at.isoformat(timespec="seconds") if context.message.send_at else "",
                "why": context.message.held_reason
                or context.message.waiting_reason
                or context.message.status_reason
                or "",
                "message": str(context.message.id),
                "link": f"{public_base_url.rstrip('/')}/manage/{context.event.id}/communications",
            }
        )
        for context in contexts.values()
    ]
    return MetadataValue.table(records, schema=TableSchema([TableColumn(name) for name in _COLUMNS]))


def outcomes_metadata(report: FinishReport) -> dict[str, Any]:
    """Messages by status, recipients in all, and recipients by delivery status: one number each."""
    statuses = Counter(report.messages.values())
    return {
        **{f"messages {status}": count for status, count in sorted(statuses.items())},
        "recipients": report.outcomes.total(),
        **numbers("recipients", {status.value: count for status, count in report.outcomes.items()}),
    }


def numbers(what: str, counts: Mapping[str, int]) -> dict[str, int]:
    """One metadata entry per count that is not zero, e.g. "recipients sent": 6."""
    return {f"{what} {name}": count for name, count in sorted(counts.items()) if count}
