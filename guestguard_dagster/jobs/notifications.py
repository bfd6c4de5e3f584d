"""The jobs that answer to events on NATS, one for each type: receive what is pending, and hand its mails off.

One op each, because receiving and handing off go hand in hand: a mail leaves while the next events are fetched. It can
be run at any time, twice at once, or again after any crash.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from dagster import JobDefinition, OpDefinition, OpExecutionContext, in_process_executor, job, op

from guestguard_dagster.delivery.graceful_stop import run_until_stopped
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.jobs.queues import EVENT_QUEUE
from guestguard_dagster.jobs.send_report import numbers
from guestguard_dagster.notifications import sending as notification_sending
from guestguard_dagster.notifications.definition import NotificationDefinition
from guestguard_dagster.notifications.registry import DEFINITIONS
from guestguard_dagster.notifications.rules import Rules
from guestguard_dagster.notifications.sending import NotificationReport
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.nats import NatsResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.resources.settings import SettingsResource
from guestguard_dagster.streams.errors import StreamFailed


def _notification_op(kind: NotificationType) -> OpDefinition:
    @op(name=f"receive_and_send_{kind}", description="Receive group by group, each acknowledged once it is in rows.")
    def receive_and_send(
        context: OpExecutionContext,
        database: DatabaseResource,
        senders: SendersResource,
        nats: NatsResource,
        settings: SettingsResource,
    ) -> None:
        values = settings.get()
        linger = timedelta(seconds=values.nats_linger_seconds)
        with (
            nats.open() as stream,
            senders.open_context(database, run_id=context.run_id) as sending,
        ):
            try:
                drift = stream.survey().drift
            except StreamFailed as problem:
                drift = (str(problem),)
            for sentence in drift:
                context.log.warning(sentence)
            rules = Rules.from_settings(values)
            report = run_until_stopped(
                lambda stop: notification_sending.receive_and_send(sending, stream, rules, kind, stop, linger=linger)
            )
        for sentence in filter(None, (report.blocked, report.stream_problem)):
            context.log.warning(sentence)
        context.add_output_metadata(_metadata(report, drift))

    return receive_and_send


def _metadata(report: NotificationReport, drift: tuple[str, ...]) -> Mapping[str, Any]:
    sent = report.outcomes["sent"]
    return {
        **numbers("events", report.events),
        **numbers("mails", report.outcomes),
        "mails per second": round(sent / report.seconds, 1) if report.seconds else 0.0,
        "seconds": round(report.seconds, 3),
        "mails that wait": report.left,
        **({"why they wait": report.blocked} if report.blocked else {}),
        **({"stream": report.stream_problem} if report.stream_problem else {}),
        **({"setup differs": "\n".join(drift)} if drift else {}),
    }


def _notification_job(definition: NotificationDefinition[Any]) -> JobDefinition:
    receive_and_send = _notification_op(definition.type)

    @job(
        name=definition.job, description=definition.job_description, executor_def=in_process_executor, tags=EVENT_QUEUE
    )
    def notification_job() -> None:
        receive_and_send()

    return notification_job


NOTIFICATION_JOBS: Mapping[NotificationType, JobDefinition] = {
    definition.type: _notification_job(definition) for definition in DEFINITIONS
}
