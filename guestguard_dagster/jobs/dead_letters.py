"""What an operator does about events that could not be used: list them, put them aside, or try them again.

Which ones is said in the Launchpad: by id, by when they became dead letters, or by their sequence in the stream.
"""

import json
from collections import Counter
from collections.abc import Sequence

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

from guestguard_dagster.delivery.ledger import check
from guestguard_dagster.jobs.instants import instant
from guestguard_dagster.jobs.queues import EVENT_QUEUE
from guestguard_dagster.jobs.send_report import numbers
from guestguard_dagster.notifications.intake import receive, replay
from guestguard_dagster.notifications.registry import TYPES
from guestguard_dagster.notifications.rules import Rules
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.nats import NatsResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.resources.settings import SettingsResource
from guestguard_dagster.storage.notifications.dead_letters import DeadLetter, DeadLetterRepo, Selection

_MOST_ROWS = 500
_COLUMNS = ("id", "type", "subject", "sequence", "deliveries", "reason", "payload", "published", "since")


class DeadLetterSelection(Config):
    """Everything that is given must fit."""

    ids: list[int] = Field(default=[], description="ids of dead letters")
    since: str | None = Field(default=None, description="from then on, such as 2026-12-05T18:30:00+01:00")
    until: str | None = Field(default=None, description="before then, such as 2026-12-06T00:00:00+01:00")
    first_sequence: int | None = Field(default=None, description="from this sequence of the stream on")
    last_sequence: int | None = Field(default=None, description="up to this sequence of the stream")

    def selection(self) -> Selection:
        """Raises Failure for an instant that cannot be read."""
        return Selection(
            ids=self.ids or None,
            since=instant("since", self.since),
            until=instant("until", self.until),
            first_sequence=self.first_sequence,
            last_sequence=self.last_sequence,
        )


class DeadLettersToChange(DeadLetterSelection):
    """Everything that is given must fit; to mean all of them, say so."""

    all: bool = Field(default=False, description="every open dead letter")

    def selection(self) -> Selection:
        """Raises Failure when nothing is selected: nobody should dismiss everything by an empty form."""
        selection = super().selection()
        if selection.is_everything and not self.all:
            raise Failure("nothing is selected: give ids, a time range or a sequence range, or set all to true")
        return selection


class SequenceRange(Config):
    """Events of the stream, both ends included."""

    first_sequence: int = Field(ge=1, description="from this sequence of the stream on")
    last_sequence: int = Field(ge=1, description="up to this sequence of the stream")


@op(description="Show the open dead letters; without a selection, all of them.")
def list_open(context: OpExecutionContext, config: DeadLetterSelection, database: DatabaseResource) -> None:
    letters = DeadLetterRepo(database.get()).open(config.selection(), limit=_MOST_ROWS)
    context.add_output_metadata({"dead letters": len(letters), "table": _table(letters)})


@op(description="Put dead letters aside for good.")
def dismiss(context: OpExecutionContext, config: DeadLettersToChange, database: DatabaseResource) -> None:
    dismissed = DeadLetterRepo(database.get()).dismiss(config.selection())
    context.add_output_metadata({"dismissed": dismissed})


@op(description="Try dead letters again; what can be used now leaves as mail within seconds.")
def try_again(
    context: OpExecutionContext,
    config: DeadLettersToChange,
    database: DatabaseResource,
    senders: SendersResource,
    settings: SettingsResource,
) -> None:
    values = settings.get()
    with senders.open_context(database, run_id=context.run_id) as sending:
        used, kept = replay(sending, Rules.from_settings(values), config.selection())
    context.add_output_metadata({"replayed": len(used), "still dead": len(kept), "table": _table(kept)})


@op(description="Read events from the stream once more. What is written down already is left alone.")
def read_again(
    context: OpExecutionContext,
    config: SequenceRange,
    database: DatabaseResource,
    senders: SendersResource,
    nats: NatsResource,
    settings: SettingsResource,
) -> None:
    values = settings.get()
    fates: Counter[str] = Counter()
    with senders.open_context(database, run_id=context.run_id) as sending:
        standing = check(sending.database, sending.ledger)
        if not standing.may_send:
            raise Failure(standing.sentence)
        with nats.open() as stream:
            declaration = stream.declaration
            arrivals = stream.read(config.first_sequence, config.last_sequence)
        for kind in TYPES:
            subject = declaration.consumers[kind].subject
            mine = [arrival for arrival in arrivals if arrival.subject == subject]
            received = receive(sending, Rules.from_settings(values), kind, mine)
            fates += Counter({str(fate): count for fate, count in received.fates.items()})
            fates["refused"] += len(received.refused)
    context.add_output_metadata({"events": len(arrivals), **numbers("events", fates)})


@job(executor_def=in_process_executor, tags=EVENT_QUEUE, description="Lists events that could not be used, and why.")
def list_dead_letters() -> None:
    list_open()


@job(executor_def=in_process_executor, tags=EVENT_QUEUE, description="Puts events that could not be used aside.")
def dismiss_dead_letters() -> None:
    dismiss()


@job(
    executor_def=in_process_executor,
    tags=EVENT_QUEUE,
    description="Tries events that could not be used again. Safe to repeat: nobody gets a second mail.",
)
def replay_dead_letters() -> None:
    try_again()


@job(
    executor_def=in_process_executor,
    tags=EVENT_QUEUE,
    description="Reads a range of the stream again, e.g. after a database was restored and replay_ledger has run. Safe "
    "for any range: what had left before the restore does not leave again.",
)
def replay_events() -> None:
    read_again()


DEAD_LETTER_JOBS = [list_dead_letters, dismiss_dead_letters, replay_dead_letters, replay_events]


def _table(letters: Sequence[DeadLetter]) -> TableMetadataValue:
    records = [
        TableRecord(
            {
                "id": letter.id,
                "type": str(letter.type),
                "subject": letter.subject,
                "sequence": letter.sequence,
                "deliveries": letter.deliveries,
                "reason": letter.reason,
                "payload": _outline(letter.payload),
                "published": letter.published_at.isoformat(timespec="seconds"),
                "since": letter.created_at.isoformat(timespec="seconds"),
            }
        )
        for letter in letters[:_MOST_ROWS]
    ]
    return MetadataValue.table(records, schema=TableSchema([TableColumn(name) for name in _COLUMNS]))


def _outline(payload: bytes) -> str:
    """Ids and numbers as they are; of texts, which may be names and addresses, only the length. The row has it all."""
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return f"{len(payload)} octets that are not JSON"
    if not isinstance(content, dict):
        return f"JSON, but a {type(content).__name__}"
    shown = {
        key: value if key.endswith("_id") or not isinstance(value, str) else f"<{len(value)} characters>"
        for key, value in content.items()
        if not isinstance(value, list | dict)
    }
    return json.dumps(shown, ensure_ascii=False)[:_MOST_ROWS]
