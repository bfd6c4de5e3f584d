"""Mails reports to operators and hosts, and alerts to operators: whatever of them waits in its rows."""

from dagster import OpExecutionContext, in_process_executor, job, op

from guestguard_dagster.delivery.graceful_stop import run_until_stopped
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.jobs.queues import EVENT_QUEUE
from guestguard_dagster.jobs.send_report import numbers
from guestguard_dagster.operations.system_mail import mail_memos
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.senders import SendersResource


@op(description="Hand off the memos that may leave now.")
def hand_off_memos(context: OpExecutionContext, database: DatabaseResource, senders: SendersResource) -> None:
    with SendContext.open(database.get(), senders.get(), senders.settings(), run_id=context.run_id) as sending:
        report = run_until_stopped(lambda stop: mail_memos(sending, stop))
    if report.blocked:
        context.log.warning(report.blocked)
    context.add_output_metadata({**numbers("memos", report.outcomes), "memos that wait": report.left})


@job(
    executor_def=in_process_executor,
    tags=EVENT_QUEUE,
    description="Mails reports and alerts that are written and wait. Nobody gets one twice, however often it is run.",
)
def send_memos() -> None:
    hand_off_memos()
