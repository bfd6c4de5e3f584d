"""Dagster jobs and their run queues. Ops are thin: they call plain Python, and report what it did as metadata.

How mail is sent, retried or deleted does not belong here. When a job runs is up to `sensors` and `schedules`. `JOBS` is
the only list of jobs: a new one is added to it.
"""

from typing import TYPE_CHECKING

from dagster import JobDefinition

from guestguard_dagster.jobs import (
    alerts,
    dead_letters,
    delivery_checks,
    ledger,
    notifications,
    provider_callbacks,
    reports,
    retention,
    retry_failed,
    send_scheduled,
    system_mail,
)

if TYPE_CHECKING:
    # what `define_asset_job` returns; Dagster has no public name for it
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

JOBS: tuple["JobDefinition | UnresolvedAssetJobDefinition", ...] = (
    send_scheduled.send_scheduled,
    *notifications.NOTIFICATION_JOBS.values(),
    *dead_letters.DEAD_LETTER_JOBS,
    ledger.replay_ledger,
    provider_callbacks.apply_provider_callbacks,
    delivery_checks.delivery_checks,
    *retry_failed.RETRY_JOBS,
    *reports.REPORT_JOBS,
    retention.retention,
    system_mail.send_system_mail,
    alerts.tell_operators,
)
