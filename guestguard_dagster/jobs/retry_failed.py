"""Failed batches, sent again by day: choose days on the backfill page of `retry_failed_deliveries`.

The job opens the failed, retryable deliveries of the messages that were due on its day, and nothing else; within a
minute the send job takes them up, and re-checks every guest. `preview_retry_failed` only shows what would be sent.

A backfill's dialog takes no config, so run tags narrow it, as the Launchpad's config does for a single day.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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

from guestguard_dagster.delivery.retrying import RetryPlan, RetryReport, plan_retry, retry
from guestguard_dagster.domain.deliveries import RetryFilter
from guestguard_dagster.jobs.queues import MAINTENANCE_QUEUE, QUEUE_TAG
from guestguard_dagster.jobs.send_tags import MESSAGE_TAG
from guestguard_dagster.partitions import DAYS, days_of
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.settings import SettingsResource
from guestguard_dagster.senders.registry import sending_number

_TAG = "guestguard.retry/"
_YES = frozenset({"yes", "true", "1"})
_COLUMNS = (
    "event",
    "kind",
    "channel",
    "status",
    "provider",
    "error",
    "deliveries",
    "would leave",
    "not now",
    "message",
)
_MOST_ROWS = 500


class RetryRequest(Config):
    """What of the day is tried again; without anything, all that failed and may be tried again."""

    message: str = Field(default="", description="only this message; several ids with commas between")
    provider: str = Field(default="", description="only what this provider was given last, such as smtp or resend")
    error_class: str = Field(default="", description="only what failed with this error, as the preview shows it")
    unknown_too: bool = Field(
        default=False, description="also what may have left an hour or more ago: those guests may get it twice"
    )


@dataclass(frozen=True, slots=True)
class _Choice:
    which: RetryFilter
    message_ids: list[UUID] | None


@op(description="Show which failed deliveries of this day would be sent again. Changes nothing.")
def preview(
    context: OpExecutionContext, config: RetryRequest, database: DatabaseResource, settings: SettingsResource
) -> None:
    plan = _plan(context, config, database, settings)
    context.log.info(f"{plan.deliveries} failed deliveries could be tried again, {plan.leaving} of them would leave")
    context.add_output_metadata({**_plan_metadata(plan), "found": _table(plan)})


@op(description="Open the failed, retryable deliveries of this day; the send job takes them up within a minute.")
def reopen(
    context: OpExecutionContext, config: RetryRequest, database: DatabaseResource, settings: SettingsResource
) -> None:
    plan = _plan(context, config, database, settings)
    report = retry(database.get(), plan)
    for sentence in report.left.values():
        context.log.warning(sentence)
    reopened = sum(report.reopened.values())
    context.log.info(f"{reopened} deliveries of {len(report.reopened)} messages are to be sent again")
    context.add_output_metadata(
        {
            "reopened": reopened,
            "messages": len(report.reopened),
            **_plan_metadata(plan),
            "found": _table(plan),
            **({"send runs": _runs_of(report)} if report.reopened else {}),
        }
    )


@job(
    partitions_def=DAYS,
    executor_def=in_process_executor,
    tags=MAINTENANCE_QUEUE,
    description="Sends again what failed of the messages that were due on the chosen days, today included. Narrow it "
    f"by run tags: {_TAG}message, {_TAG}provider, {_TAG}error_class, and {_TAG}unknown_too = yes to consent that "
    "guests whose mail may have left get it twice. Doubles nothing else, however often and by how many it is run.",
)
def retry_failed_deliveries() -> None:
    reopen()


@job(
    partitions_def=DAYS,
    executor_def=in_process_executor,
    tags=MAINTENANCE_QUEUE,
    description="Shows what retry_failed_deliveries would send for the same days, tags and config. Changes nothing.",
)
def preview_retry_failed() -> None:
    preview()


RETRY_JOBS = [retry_failed_deliveries, preview_retry_failed]


def _plan(
    context: OpExecutionContext, config: RetryRequest, database: DatabaseResource, settings: SettingsResource
) -> RetryPlan:
    choice = _choice(config, context.run.tags)
    [day] = days_of([context.partition_key])
    return plan_retry(
        database.get(),
        day,
        choice.which,
        message_ids=choice.message_ids,
        sending_number=sending_number(settings.get()),
    )


def _choice(config: RetryRequest, tags: Mapping[str, str]) -> _Choice:
    """What config and tags narrow the retry to. Raises Failure for a misspelt tag, which would narrow nothing."""
    known = {_TAG + name: name for name in RetryRequest.model_fields}
    misspelt = sorted(name for name in tags.keys() - known.keys() - {QUEUE_TAG} if name.startswith("guestguard"))
    if misspelt:
        raise Failure(f"there is no tag {misspelt[0]}; known are {', '.join(known)}")
    given = {known[tag]: value for tag, value in tags.items() if tag in known}

    def chosen(name: str) -> frozenset[str] | None:
        configured, tagged = _words(getattr(config, name)), _words(given.get(name, ""))
        if configured and tagged and configured != tagged:
            raise Failure(f"{name} is narrowed by config and by tag, to different values; leave one of them out")
        return configured or tagged or None

    messages = chosen("message")
    return _Choice(
        RetryFilter(
            error_classes=chosen("error_class"),
            unknown_too=config.unknown_too or given.get("unknown_too", "").strip().lower() in _YES,
            providers=chosen("provider"),
        ),
        None if messages is None else [_message_id(each) for each in sorted(messages)],
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(word for each in text.split(",") if (word := each.strip()))


def _message_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Failure(f"{text!r} is no message id; the preview shows the ids") from None


def _plan_metadata(plan: RetryPlan) -> dict[str, int]:
    return {
        "deliveries that fit": plan.deliveries,
        "would leave as things stand": plan.leaving,
        "messages that cannot be tried again now": len(
            {group.message_id for group in plan.groups if group.obstacle is not None}
        ),
    }


def _table(plan: RetryPlan) -> TableMetadataValue:
    records = [
        TableRecord(
            {
                "event": group.event_name,
                "kind": group.kind.label,
                "channel": group.channel.value,
                "status": group.status.value,
                "provider": group.provider or "",
                "error": group.error_class or "",
                "deliveries": group.deliveries,
                "would leave": group.leaving,
                "not now": group.obstacle.value if group.obstacle else "",
                "message": str(group.message_id),
            }
        )
        for group in plan.groups[:_MOST_ROWS]
    ]
    return MetadataValue.table(records, schema=TableSchema([TableColumn(name) for name in _COLUMNS]))


def _runs_of(report: RetryReport) -> MetadataValue[str]:
    first = next(iter(report.reopened))
    return MetadataValue.text(f"on the Runs page, by the tag {MESSAGE_TAG}{first}: yes (for each message its own)")
