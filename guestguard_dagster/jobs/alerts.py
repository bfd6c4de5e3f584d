"""Tells operators what is wrong: in the log, by mail, and through a webhook. Each alert is sent once."""

from dagster import Failure, OpExecutionContext, in_process_executor, job, op

from guestguard_dagster.jobs.queues import EVENT_QUEUE
from guestguard_dagster.operations.alert_webhook import WebhookRefused, post_alerts
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.settings import SettingsResource
from guestguard_dagster.storage.operations.alerts import AlertRepo


@op(description="Log, mail and post the alerts that nobody was told of yet.")
def tell(context: OpExecutionContext, database: DatabaseResource, settings: SettingsResource) -> None:
    from guestguard_dagster.reporting.alert_mail import alert_mails

    values = settings.get()
    new = AlertRepo(database.get()).tell(lambda alerts: alert_mails(alerts, values.operator_addresses))
    for alert in new:
        context.log.error(f"{alert.title}: {alert.detail}")
    context.add_output_metadata({"alerts": len(new), "mailed to": len(values.operator_addresses) if new else 0})
    if new and values.alert_webhook_url is not None:
        try:
            post_alerts(values.alert_webhook_url.get_secret_value(), new)
        except WebhookRefused as problem:
            raise Failure(str(problem)) from None


@job(
    executor_def=in_process_executor,
    tags=EVENT_QUEUE,
    description="Tells operators of new alerts: in the log, by mail to OPERATOR_EMAILS, and to ALERT_WEBHOOK_URL.",
)
def tell_operators() -> None:
    tell()
