"""The front door: what Dagster loads. `build_defs` is the one place that wires jobs, sensors and resources."""

import gc
from collections.abc import Mapping
from typing import Any

from dagster import Definitions, EnvVar, in_process_executor

from guestguard_dagster import logs
from guestguard_dagster.assets.delivery_stats import STATISTICS
from guestguard_dagster.assets.reports import REPORTS
from guestguard_dagster.assets.sources import PROMISES, SOURCES
from guestguard_dagster.checks import CHECKS
from guestguard_dagster.jobs.alerts import tell_operators
from guestguard_dagster.jobs.dead_letters import DEAD_LETTER_JOBS
from guestguard_dagster.jobs.delivery_checks import delivery_checks
from guestguard_dagster.jobs.ledger import replay_ledger
from guestguard_dagster.jobs.notifications import NOTIFICATION_JOBS
from guestguard_dagster.jobs.provider_callbacks import apply_provider_callbacks
from guestguard_dagster.jobs.reports import REPORT_JOBS
from guestguard_dagster.jobs.retention import retention
from guestguard_dagster.jobs.retry_failed import RETRY_JOBS
from guestguard_dagster.jobs.send_scheduled import send_scheduled
from guestguard_dagster.jobs.system_mail import send_system_mail
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.nats import NatsResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.schedules import SCHEDULES
from guestguard_dagster.sensors.alerts import alerts
from guestguard_dagster.sensors.automation import automation
from guestguard_dagster.sensors.delivery_changes import delivery_changes
from guestguard_dagster.sensors.due_messages import due_messages
from guestguard_dagster.sensors.nats_events import nats_events
from guestguard_dagster.sensors.provider_callbacks import provider_callbacks
from guestguard_dagster.sensors.run_watch import hold_terminated, run_watch
from guestguard_dagster.sensors.system_mail import system_mail
from guestguard_dagster.settings import load_settings


def build_defs(*, resource_overrides: Mapping[str, Any] | None = None) -> Definitions:
    """Everything of production, with some resources replaced for a test."""
    return Definitions(
        assets=[*SOURCES, PROMISES, *STATISTICS, *REPORTS],
        asset_checks=CHECKS,
        jobs=[
            send_scheduled,
            *NOTIFICATION_JOBS.values(),
            *DEAD_LETTER_JOBS,
            replay_ledger,
            apply_provider_callbacks,
            delivery_checks,
            *RETRY_JOBS,
            *REPORT_JOBS,
            retention,
            send_system_mail,
            tell_operators,
        ],
        schedules=SCHEDULES,
        sensors=[
            due_messages,
            nats_events,
            provider_callbacks,
            run_watch,
            hold_terminated,
            system_mail,
            alerts,
            delivery_changes,
            automation,
        ],
        resources={
            "database": DatabaseResource(url=EnvVar("DATABASE_URL")),
            "senders": SendersResource(),
            "nats": NatsResource(),
            **(resource_overrides or {}),
        },
        # of runs that materialize assets: a process for each step would cost more than the steps
        executor=in_process_executor,
    )


logs.configure("guestguard", debug=load_settings().is_development)
defs = build_defs()
# What is loaded by now stays, and what a run makes of rows and mails ends without the collector: it need not look
# through all of Dagster, nor through every 700 new objects, while a run sends.
gc.freeze()
gc.set_threshold(50_000)
