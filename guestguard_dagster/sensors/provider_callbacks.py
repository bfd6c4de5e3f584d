"""Every 5 seconds: whether callbacks of providers were announced on NATS, or have lain in their table for a while."""

from datetime import timedelta

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from guestguard_dagster.domain.callbacks import ProviderEvent
from guestguard_dagster.jobs.provider_callbacks import apply_provider_callbacks
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.nats import NatsResource
from guestguard_dagster.sensors.live_runs import has_live_run
from guestguard_dagster.settings import SettingsInvalid
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster.storage.providers.callbacks import CallbackRepo
from guestguard_dagster.streams.errors import StreamFailed

# By then an announcement has led to a run, if it ever came.
_SWEEP_AFTER = timedelta(seconds=15)


@sensor(
    job=apply_provider_callbacks,
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for a run when providers have called back: as announced on NATS, else as their table shows.",
)
def provider_callbacks(
    context: SensorEvaluationContext, database: DatabaseResource, nats: NatsResource
) -> SensorResult | SkipReason:
    if has_live_run(context.instance, RunRepo(database.get()), apply_provider_callbacks.name):
        return SkipReason("a run is at work on them")
    if _are_announced(nats) or CallbackRepo(database.get()).has_waiting(for_at_least=_SWEEP_AFTER):
        return SensorResult(run_requests=[RunRequest()])
    return SkipReason("no provider has called back")


def _are_announced(nats: NatsResource) -> bool:
    """False as well while NATS is away: the table tells of the callbacks then."""
    try:
        with nats.open_callbacks() as stream:
            return stream.survey().backlogs[ProviderEvent.CALLBACK_STORED].pending > 0
    except (StreamFailed, SettingsInvalid):
        return False
