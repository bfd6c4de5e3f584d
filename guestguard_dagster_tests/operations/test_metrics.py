"""Metrics that Prometheus can read, and that say what the rows say."""

from datetime import timedelta

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.operations.metrics import exposition
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.alerts import AlertRepo, NewAlert
from guestguard_dagster.storage.operations.ticks import TickRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo
from guestguard_dagster.storage.statistics.computing import StatsRepo
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message

SETTINGS = Settings()


def scrape(database: Database) -> list[Metric]:
    """Every family, as the reader of Prometheus' own library understands the page."""
    return list(text_string_to_metric_families(exposition(database, SETTINGS)))


def value(families: list[Metric], name: str, **labels: str) -> float:
    [found] = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return float(found)


def test_names_and_types_are_those_that_dashboards_go_by(database: Database) -> None:
    assert {family.name: family.type for family in scrape(database)} == {
        "guestguard_messages": "gauge",
        "guestguard_messages_held": "gauge",
        "guestguard_deliveries_waiting": "gauge",
        "guestguard_oldest_due_seconds": "gauge",
        "guestguard_open_breakers": "gauge",
        "guestguard_open_dead_letters": "gauge",
        "guestguard_open_alerts": "gauge",
        "guestguard_behind_ledger": "gauge",
        "guestguard_seconds_since_ledger_check": "gauge",
        "guestguard_seconds_since_tick": "gauge",
        "guestguard_hand_offs": "counter",  # its samples end in _total
        "guestguard_deliveries_today": "gauge",
        "guestguard_latency_today_seconds": "gauge",
    }


def test_without_anything_there_are_zeros(database: Database) -> None:
    families = scrape(database)

    assert value(families, "guestguard_open_breakers") == 0
    assert value(families, "guestguard_oldest_due_seconds") == 0


def test_what_waits_and_what_is_wrong_is_counted(database: Database) -> None:
    event = make_event(database)
    make_message(database, event, send_in=-timedelta(minutes=10))
    make_message(database, event, send_in=timedelta(hours=1))
    held = make_message(database, event, status=MessageStatus.SENDING, held_at=database.now())
    make_deliveries(database, held, make_guests(database, event, 3))
    BreakerRepo(database).open("smtp:x", reason="no")
    AlertRepo(database).raise_all([NewAlert("job:x", "t", "d")])
    TickRepo(database).note("due_messages")

    families = scrape(database)

    assert value(families, "guestguard_messages", status="scheduled") == 2
    assert value(families, "guestguard_messages_held") == 1
    assert value(families, "guestguard_deliveries_waiting", channel="email", status="pending") == 3
    assert 600 <= value(families, "guestguard_oldest_due_seconds") < 660
    assert value(families, "guestguard_open_breakers") == 1
    assert value(families, "guestguard_open_alerts") == 1
    assert value(families, "guestguard_seconds_since_tick", sensor="due_messages") < 60


def test_today_is_counted_by_outcome_and_latency(database: Database) -> None:
    today = Days.containing(database.now(), SETTINGS.operator_zone)
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENT, send_at=today.start)
    make_deliveries(
        database,
        message,
        make_guests(database, event, 2),
        status=DeliveryStatus.SENT,
        provider='odd"\\\nname',
        handed_off_at=today.start + timedelta(seconds=2),
    )
    StatsRepo(database).refresh_days(today)

    families = scrape(database)

    [deliveries] = [family.samples for family in families if family.name == "guestguard_deliveries_today"]
    assert [(sample.labels["provider"], sample.value) for sample in deliveries] == [('odd"\\\nname', 2)]
    latency = value(families, "guestguard_latency_today_seconds", channel="email", until="hand_off", quantile="0.95")
    assert latency == pytest.approx(2)
