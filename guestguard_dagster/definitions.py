"""The front door: what Dagster loads. `build_defs` collects what each room exports; a new job is added in its room."""

import gc
from collections.abc import Mapping
from typing import Any

from dagster import Definitions, in_process_executor

from guestguard_dagster import logs
from guestguard_dagster.assets import ASSETS
from guestguard_dagster.checks import CHECKS
from guestguard_dagster.jobs import JOBS
from guestguard_dagster.resources import production_resources
from guestguard_dagster.schedules import SCHEDULES
from guestguard_dagster.sensors import SENSORS
from guestguard_dagster.settings import load_settings


def build_defs(*, resource_overrides: Mapping[str, Any] | None = None) -> Definitions:
    """Everything of production, with some resources replaced for a test."""
    return Definitions(
        assets=ASSETS,
        asset_checks=CHECKS,
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={**production_resources(), **(resource_overrides or {})},
        # of runs that materialize assets: a process for each step would cost more than the steps
        executor=in_process_executor,
    )


logs.configure("guestguard", debug=load_settings().is_development)
defs = build_defs()
# What is loaded by now stays, and what a run makes of rows and mails ends without the collector: it need not look
# through all of Dagster, nor through every 700 new objects, while a run sends.
gc.freeze()
gc.set_threshold(50_000)
