"""What a send run shows of its messages: a table with a link to each event, and the outcomes by class."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from dagster import MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from guestguard_dagster.delivery.finishing import FinishReport
from guestguard_dagster.delivery.mailroom import Mailroom

_MOST_ROWS = 500
_COLUMNS = ("event", "message", "kind", "channel", "status", "why", "due", "recipients", "link")


def messages_table(room: Mailroom, message_ids: Sequence[UUID], public_base_url: str) -> TableMetadataValue:
    """One row per message as it stands now; the first 500 of a run."""
    contexts = room.contexts.load(list(message_ids[:_MOST_ROWS]))
    records = [
        TableRecord(
            {
                "event": context.event.name,
                "message": str(context.message.id),
                "kind": context.message.kind.label,
                "channel": context.message.channel.value,
                "status": context.message.status.value,
                "why": context.message.held_reason
                or context.message.waiting_reason
                or context.message.status_reason
                or "",
                "due": context.message.send_at.isoformat(timespec="seconds") if context.message.send_at else "",
                "recipients": str(context.message.recipient_count or ""),
                "link": f"{public_base_url.rstrip('/')}/events/{context.event.id}/communications",
            }
        )
        for context in contexts.values()
    ]
    return MetadataValue.table(records, schema=TableSchema([TableColumn(name) for name in _COLUMNS]))


def outcomes_metadata(report: FinishReport) -> dict[str, Any]:
    """Messages by status, recipients in all, and recipients by delivery status."""
    statuses = Counter(status.value for status in report.messages.values())
    return {
        "recipients": report.outcomes.total(),
        "recipients by outcome": {status.value: count for status, count in sorted(report.outcomes.items())},
        "messages by status": dict(sorted(statuses.items())),
    }
