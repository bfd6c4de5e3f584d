"""The job that applies what providers told: one op, to be run at any time, twice at once, or again after any crash."""

from datetime import timedelta

from dagster import OpExecutionContext, in_process_executor, job, op

from guestguard_dagster.callbacks.applying import CallbackApplier
from guestguard_dagster.jobs.queues import EVENT_QUEUE
from guestguard_dagster.jobs.send_report import numbers
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.nats import NatsResource
from guestguard_dagster.resources.settings import SettingsResource
from guestguard_dagster.senders.registry import sending_number

_NO_NATS = "NATS_URL is not set: what is stored is applied, nothing is waited for"


@op(description="Move deliveries, suppress addresses, and settle what was unknown, by what providers called back with.")
def apply_stored_callbacks(
    context: OpExecutionContext, database: DatabaseResource, nats: NatsResource, settings: SettingsResource
) -> None:
    values = settings.get()
    applier = CallbackApplier(database.get(), sending_number=sending_number(values))
    if values.nats_url is None:
        counts, problem = applier.apply_waiting(), _NO_NATS
    else:
        with nats.open_callbacks() as stream:
            report = applier.apply_announced(stream, linger=timedelta(seconds=values.nats_linger_seconds))
        counts, problem = report.counts, report.stream_problem or ""
    if problem:
        context.log.warning(problem)
    context.add_output_metadata(
        {
            **numbers("callbacks", {kind.value: count for kind, count in counts.items()}),
            **({"stream": problem} if problem else {}),
        }
    )


@job(
    executor_def=in_process_executor,
    tags=EVENT_QUEUE,
    description="Applies callbacks of providers: delivered, bounced, complained, STOP. Safe to repeat.",
)
def apply_provider_callbacks() -> None:
    apply_stored_callbacks()
