"""One tick of a sensor, with the resources that production gives it."""

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, SensorResult, SkipReason, build_sensor_context
from dagster._core.test_utils import create_run_for_test  # no public way to write a run that never ran

from guestguard_dagster.definitions import build_defs
from guestguard_dagster.jobs.queues import SEND_QUEUE


def tick(instance: DagsterInstance, sensor_name: str, *, cursor: str | None = None) -> SensorResult | SkipReason:
    """What the sensor returns; raises what it raises."""
    definitions = build_defs()
    with build_sensor_context(instance=instance, resources=dict(definitions.resources or {}), cursor=cursor) as context:
        result = definitions.resolve_sensor_def(sensor_name)(context)
    assert isinstance(result, SensorResult | SkipReason)
    return result


def write_run(instance: DagsterInstance, status: DagsterRunStatus, message_ids: list[str]) -> DagsterRun:
    """A send run in this status, of which no process exists."""
    run: DagsterRun = create_run_for_test(
        instance,
        job_name="send_scheduled",
        status=status,
        run_config={"message_ids": message_ids},
        tags=SEND_QUEUE,
    )
    return run
