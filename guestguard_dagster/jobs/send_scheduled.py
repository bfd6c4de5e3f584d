"""The send job: claim, load recipients, render, dispatch, record deliveries, mark sent.

Six ops in a straight line, ordered without data: which messages comes from the run's config, how far they are from
their rows. So any of them can be run again, alone, or after any crash, and sends only what was never sent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from uuid import UUID

from dagster import (
    Config,
    DagsterRun,
    DagsterRunStatus,
    In,
    MetadataValue,
    Nothing,
    OpExecutionContext,
    Out,
    RunConfig,
    config_mapping,
    in_process_executor,
    job,
    op,
)
from pydantic import Field

from guestguard_dagster.delivery import claim as claim_step
from guestguard_dagster.delivery import dispatch as dispatch_step
from guestguard_dagster.delivery import load_recipients as load_recipients_step
from guestguard_dagster.delivery import mark_sent as mark_sent_step
from guestguard_dagster.delivery import record_deliveries as record_deliveries_step
from guestguard_dagster.delivery import render as render_step
from guestguard_dagster.delivery.graceful_stop import run_until_stopped
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.jobs.queues import SEND_QUEUE
from guestguard_dagster.jobs.send_report import messages_table, numbers, outcomes_metadata
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.resources.settings import SettingsResource

TERMINATED = "an operator terminated run {run_id}; resume the message, or re-execute the run, to send the rest"


class SendRequest(Config):
    """Which messages to send. Messages that are not due, cancelled, or sent already are left as they are."""

    message_ids: list[str] = Field(description="ids of scheduled messages", min_length=1)

    def ids(self) -> list[UUID]:
        return [UUID(message_id) for message_id in self.message_ids]


def requested_ids(run: DagsterRun) -> list[UUID]:
    """The messages that a send run was launched for."""
    request = run.run_config.get("message_ids")
    return [UUID(message_id) for message_id in request] if isinstance(request, list) else []


@contextmanager
def _open_sending(
    context: OpExecutionContext, request: SendRequest, database: DatabaseResource, senders: SendersResource
) -> Iterator[SendContext]:
    with senders.open_context(database, run_id=context.run_id) as sending:
        sending.runs.record(context.run_id, request.ids(), repeats=_repeated_runs(context))
        try:
            yield sending
        except BaseException as error:
            if _is_being_terminated(context):
                sending.runs.hold(context.run_id, request.ids(), reason=TERMINATED.format(run_id=context.run_id))
            elif not isinstance(error, Exception):
                sending.run_requests.requeue(request.ids())  # a restart: the next tick may request a run at once
            raise


def _repeated_runs(context: OpExecutionContext) -> set[str]:
    """The run that this one re-executes, and the first of them all; nothing for a run that repeats none."""
    run = context.run
    return {run_id for run_id in (run.parent_run_id, run.root_run_id) if run_id is not None}


def _is_being_terminated(context: OpExecutionContext) -> bool:
    run = context.instance.get_run_by_id(context.run_id)
    return run is not None and run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)


@op(out=Out(Nothing), description="Wait for the due instant, then take the messages; a host can edit until then.")
def claim(
    context: OpExecutionContext,
    config: SendRequest,
    database: DatabaseResource,
    senders: SendersResource,
    settings: SettingsResource,
) -> None:
    with _open_sending(context, config, database, senders) as sending:
        report = claim_step.claim(sending, config.ids(), Event())
        context.log.info(
            f"{len(report.sending)} being sent, {len(report.waiting)} not due yet, "
            f"{len(report.expired)} came too late, {len(report.left)} left alone"
        )
        context.add_output_metadata(
            {
                "sending": len(report.sending),
                "waiting": len(report.waiting),
                "expired": len(report.expired),
                "left alone": len(report.left),
                "messages": messages_table(sending, config.ids(), settings.get().public_base_url),
            }
        )


@op(
    ins={"claimed": In(Nothing)},
    out=Out(Nothing),
    description="Write the audience down, once: these guests, and no others, get the message.",
)
def load_recipients(
    context: OpExecutionContext, config: SendRequest, database: DatabaseResource, senders: SendersResource
) -> None:
    with _open_sending(context, config, database, senders) as sending:
        report = load_recipients_step.load_recipients(sending, config.ids())
        context.add_output_metadata({"messages": len(report.recipients), "recipients": report.total})


@op(
    ins={"loaded": In(Nothing)},
    out=Out(Nothing),
    description="Check every recipient before anything leaves: a broken message fails here, and none of it is sent.",
)
def render(
    context: OpExecutionContext, config: SendRequest, database: DatabaseResource, senders: SendersResource
) -> None:
    with _open_sending(context, config, database, senders) as sending:
        report = render_step.render(sending, config.ids())
        for message_id, problem in report.broken.items():
            context.log.error(f"message {message_id} cannot be rendered, nothing of it is sent: {problem}")
        context.add_output_metadata(
            {
                "fit to leave": report.fit,
                "broken messages": len(report.broken),
                **numbers("refused:", report.refused),
            }
        )


@op(
    ins={"rendered": In(Nothing)},
    out=Out(Nothing),
    description="Hand off batch by batch, each written down before it leaves.",
)
def dispatch(
    context: OpExecutionContext, config: SendRequest, database: DatabaseResource, senders: SendersResource
) -> None:
    with _open_sending(context, config, database, senders) as sending:
        report = run_until_stopped(lambda stop: dispatch_step.dispatch(sending, config.ids(), stop))
        for reason, messages in report.deferred.items():
            context.log.warning(f"{messages} messages wait: {reason}")
        context.add_output_metadata(
            {
                **numbers("recipients", report.outcomes),
                "recipients per second": MetadataValue.float(round(report.rate, 1)),
                "seconds": MetadataValue.float(round(report.seconds, 3)),
                **numbers("messages waiting:", report.deferred),
            }
        )


@op(
    ins={"dispatched": In(Nothing)},
    out=Out(Nothing),
    description="Settle hand-offs that a crash interrupted and that cannot be repeated: they are unknown.",
)
def record_deliveries(
    context: OpExecutionContext, config: SendRequest, database: DatabaseResource, senders: SendersResource
) -> None:
    with _open_sending(context, config, database, senders) as sending:
        context.add_output_metadata(
            {"unknown after a crash": record_deliveries_step.record_deliveries(sending, config.ids())}
        )


@op(
    ins={"recorded": In(Nothing)},
    out=Out(Nothing),
    description="End the messages with nothing left to do: sent, or failed when nothing could be sent.",
)
def mark_sent(
    context: OpExecutionContext,
    config: SendRequest,
    database: DatabaseResource,
    senders: SendersResource,
    settings: SettingsResource,
) -> None:
    with _open_sending(context, config, database, senders) as sending:
        report = mark_sent_step.mark_sent(sending, config.ids())
        context.add_output_metadata(
            {
                **outcomes_metadata(report),
                "messages": messages_table(sending, config.ids(), settings.get().public_base_url),
            }
        )


_OPS = (claim, load_recipients, render, dispatch, record_deliveries, mark_sent)


@config_mapping
def _the_same_request_for_every_op(val: SendRequest) -> RunConfig:
    return RunConfig(ops={each.name: SendRequest(message_ids=val.message_ids) for each in _OPS})


@job(
    config=_the_same_request_for_every_op,
    executor_def=in_process_executor,
    tags=SEND_QUEUE,
    description="Sends scheduled messages that are due. Safe to re-execute: it sends only what was never sent.",
)
def send_scheduled() -> None:
    mark_sent(record_deliveries(dispatch(render(load_recipients(claim())))))
