"""Statistics are refreshed where news came, by the automation that production runs, and show what they counted."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO

import PIL.Image
import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    EvaluateAutomationConditionsResult,
    ExecuteInProcessResult,
    SensorResult,
    build_sensor_context,
    evaluate_automation_conditions,
)

from guestguard_dagster.definitions import build_defs
from guestguard_dagster.domain.deliveries import DeliveryReport, DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.reporting.charts import LARGEST_PNG
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.statistics import changes
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message

NAMES = ["message_delivery_stats", "event_delivery_stats", "daily_delivery_stats", "provider_health"]
DAY = "2026-03-10"
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
LONG_AGO = datetime(2026, 3, 10, 13, tzinfo=UTC)


def sent(database: Database, *, send_at: datetime = NOON, delivered: int = 2, failed: int = 1) -> list[int]:
    """One message with its deliveries, the last news of which is old."""
    event = make_event(database, starts_at=NOON + timedelta(days=9))
    message = make_message(database, event, status=MessageStatus.SENT, send_at=send_at, updated_at=LONG_AGO)
    common = {"provider": "smtp", "account": "smtp:mail.example.com", "updated_at": LONG_AGO}
    arrived = make_deliveries(
        database,
        message,
        make_guests(database, event, delivered),
        status=DeliveryStatus.DELIVERED,
        handed_off_at=send_at + timedelta(seconds=1),
        settled_at=send_at + timedelta(seconds=9),
        **common,
    )
    return arrived + make_deliveries(
        database, message, make_guests(database, event, failed), status=DeliveryStatus.FAILED, **common
    )


def materialize(instance: DagsterInstance, first: str, last: str) -> ExecuteInProcessResult:
    """One run over these days, as a backfill launches it."""
    return (
        build_defs()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            instance=instance,
            asset_selection=[AssetKey(name) for name in NAMES],
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
        )
    )


def metadata_of(result: ExecuteInProcessResult, asset: str, day: str) -> dict[str, object]:
    [event] = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.materialization.asset_key == AssetKey(asset) and event.materialization.partition == day
    ]
    return {name: entry.value for name, entry in event.metadata.items()}


class Automation:
    """The sensor of changes and the automation sensor, ticking one after the other."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._definitions = build_defs()
        self._changes_cursor: str | None = None
        self._evaluated: EvaluateAutomationConditionsResult | None = None

    def tick(self, at: datetime | None = None) -> dict[str, set[str]]:
        """The days that are asked to be refreshed, by asset; those with none are missing."""
        for event in self._report_changes():
            self._instance.report_runless_asset_event(event)
        self._evaluated = evaluate_automation_conditions(
            self._definitions,
            self._instance,
            cursor=self._evaluated.cursor if self._evaluated else None,
            evaluation_time=at,
        )
        asked = {name: self._evaluated.get_requested_partitions(AssetKey(name)) for name in NAMES}
        return {name: {str(day) for day in days} for name, days in asked.items() if days}

    def _report_changes(self) -> Sequence[AssetMaterialization]:
        with build_sensor_context(
            instance=self._instance,
            cursor=self._changes_cursor,
            resources=dict(self._definitions.resources or {}),
        ) as context:
            result = self._definitions.resolve_sensor_def("delivery_changes")(context)
        assert isinstance(result, SensorResult)
        self._changes_cursor = result.cursor
        return [event for event in result.asset_events if isinstance(event, AssetMaterialization)]


@pytest.fixture
def automation(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Automation:
    """News count at once: no transaction of a test is open before it writes."""
    monkeypatch.setattr(changes, "YOUNG", timedelta())
    automation = Automation(instance)
    automation.tick()
    return automation


def test_a_day_shows_what_was_counted(instance: DagsterInstance, database: Database) -> None:
    sent(database, delivered=2, failed=1)

    result = materialize(instance, DAY, DAY)

    assert result.success
    day = metadata_of(result, "daily_delivery_stats", DAY)
    assert (day["deliveries"], day["delivered"], day["failed"], day["sent"]) == (3, 2, 1, 0)
    assert (day["email hand-off p50 (s)"], day["email delivered p95 (s)"]) == (1.0, 9.0)
    assert metadata_of(result, "message_delivery_stats", DAY)["deliveries"] == 3
    assert metadata_of(result, "event_delivery_stats", DAY)["events"] == 1


@pytest.mark.parametrize("asset", NAMES)
def test_every_materialization_has_a_chart_that_may_be_kept(
    instance: DagsterInstance, database: Database, asset: str
) -> None:
    sent(database)

    markdown = str(metadata_of(materialize(instance, DAY, DAY), asset, DAY)["chart"])

    png = base64.b64decode(markdown.partition("base64,")[2].rstrip(")"))
    assert len(png) <= LARGEST_PNG
    assert PIL.Image.open(BytesIO(png)).size == (1064, 420)


def test_one_run_computes_all_days_of_a_backfill_each_with_its_own_numbers(
    instance: DagsterInstance, database: Database
) -> None:
    sent(database, delivered=1, failed=0)
    sent(database, send_at=NOON + timedelta(days=1), delivered=5, failed=0)

    result = materialize(instance, DAY, "2026-03-12")

    counted = [
        metadata_of(result, "daily_delivery_stats", day)["deliveries"] for day in (DAY, "2026-03-11", "2026-03-12")
    ]
    assert counted == [1, 5, 0]


def test_a_late_callback_refreshes_the_day_it_touches_and_no_other(automation: Automation, database: Database) -> None:
    [late, *_] = sent(database)
    sent(database, send_at=NOON + timedelta(days=1))
    automation.tick()

    MessageRepo(database).record_delivery(late, DeliveryReport(DeliveryStatus.COMPLAINED))

    assert automation.tick() == {name: {DAY} for name in NAMES}
    assert automation.tick() == {}


def test_late_callbacks_on_several_days_refresh_each_of_them_once(automation: Automation, database: Database) -> None:
    first, second = sent(database)[0], sent(database, send_at=NOON + timedelta(days=4))[0]
    automation.tick()

    for delivery in (first, second):
        MessageRepo(database).record_delivery(delivery, DeliveryReport(DeliveryStatus.BOUNCED))

    assert automation.tick() == {name: {DAY, "2026-03-14"} for name in NAMES}
    assert automation.tick() == {}


def test_today_is_refreshed_once_an_hour_also_when_nothing_happens(automation: Automation) -> None:
    now = datetime.now(UTC)
    automation.tick(now)
    next_hour = now.replace(minute=8, second=0) + timedelta(hours=1)

    asked = automation.tick(next_hour)

    assert asked == {name: {f"{next_hour:%Y-%m-%d}"} for name in NAMES}
    assert automation.tick(next_hour + timedelta(minutes=30)) == {}


def test_everything_that_ticks_is_running_from_the_start() -> None:
    repository = build_defs().get_repository_def()
    assert [sensor.name for sensor in repository.sensor_defs if sensor.default_status.name != "RUNNING"] == []
    assert [each.name for each in repository.schedule_defs if each.default_status.name != "RUNNING"] == []
    assert not any("default_automation" in sensor.name for sensor in repository.sensor_defs)


def test_statistics_say_when_they_are_stale() -> None:
    for name in NAMES:
        [spec] = [spec for spec in build_defs().resolve_all_asset_specs() if spec.key == AssetKey(name)]
        assert spec.freshness_policy is not None


def test_statistics_come_from_the_tables_that_the_engine_writes() -> None:
    graph = build_defs().resolve_asset_graph()
    sources = {key.to_user_string() for key in graph.external_asset_keys}
    assert {"scheduled_messages", "message_deliveries", "notifications", "delivery_attempts"} <= sources
    assert graph.get(AssetKey("message_delivery_stats")).parent_keys == {
        AssetKey("scheduled_messages"),
        AssetKey("message_deliveries"),
    }
