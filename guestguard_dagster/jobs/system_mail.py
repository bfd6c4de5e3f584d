"""Mails reports to operators and hosts, and alerts to operators: whatever of them waits in its rows."""

from dagster import OpExecutionContext, in_process_executor, job, op

from guestguard_dagster.delivery.graceful_stop import run_until_stopped
from guestguard_dagster.jobs.queues import EVENT_QUEUE
from guestguard_dagster.jobs.send_report import numbers
from guestguard_dagster.operations.system_mail import send_waiting_mail
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.senders import SendersResource


@op(description="Hand off the mails that may leave now.")
def hand_off_system_mail(context: OpExecutionContext, database: DatabaseResource, senders: SendersResource) -> None:
    with senders.open_context(database, run_id=context.run_id) as sending:
        report = run_until_stopped(lambda stop: send_waiting_mail(sending, stop))
    if report.blocked:
        context.log.warning(report.blocked)
    context.add_output_metadata({**numbers("mails", report.outcomes), "mails that wait": report.left})


@job(
    executor_def=in_process_executor,
    tags=EVENT_QUEUE,
    description="Mails reports and alerts that are written and wait. Nobody gets one twice, however often it is run.",
)
def send_system_mail() -> None:
    hand_off_system_mail()
