"""Metrics that Prometheus can read, and that say what the rows say."""

import re
from datetime import timedelta

import pytest

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
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = rf'{_NAME}="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)")


def scrape(database: Database) -> dict[str, float]:
    """Each sample by its name and labels. Fails for a line that the text format does not know."""
    samples: dict[str, float] = {}
    announced: set[str] = set()
    for line in exposition(database, SETTINGS).splitlines():
        if line.startswith("# TYPE "):
            announced.add(line.split()[2])
        elif not line.startswith("# HELP "):
            sample = _SAMPLE.fullmatch(line)
            assert sample, line
            name, labels, value = sample.groups()
            assert name in announced
            samples[f"{name}{{{labels}}}" if labels else name] = float(value)
    return samples


def test_without_anything_there_are_zeros(database: Database) -> None:
    samples = scrape(database)

    assert samples["guestguard_open_breakers"] == 0
    assert samples["guestguard_oldest_due_seconds"] == 0


def test_what_waits_and_what_is_wrong_is_counted(database: Database) -> None:
    event = make_event(database)
    make_message(database, event, send_in=-timedelta(minutes=10))
    make_message(database, event, send_in=timedelta(hours=1))
    held = make_message(database, event, status=MessageStatus.SENDING, held_at=database.now())
    make_deliveries(database, held, make_guests(database, event, 3))
    BreakerRepo(database).open("smtp:x", reason="no")
    AlertRepo(database).raise_all([NewAlert("job:x", "t", "d")])
    TickRepo(database).note("due_messages")

    samples = scrape(database)

    assert samples['guestguard_messages{status="scheduled"}'] == 2
    assert samples["guestguard_messages_held"] == 1
    assert samples['guestguard_deliveries_waiting{channel="email",status="pending"}'] == 3
    assert 600 <= samples["guestguard_oldest_due_seconds"] < 660
    assert samples["guestguard_open_breakers"] == 1
    assert samples["guestguard_open_alerts"] == 1
    assert samples['guestguard_seconds_since_tick{sensor="due_messages"}'] < 60


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

    samples = scrape(database)

    [(name, value)] = [item for item in samples.items() if item[0].startswith("guestguard_deliveries_today")]
    assert value == 2
    assert r'provider="odd\"\\\nname"' in name
    assert samples['guestguard_latency_today_seconds{channel="email",until="hand_off",quantile="0.95"}'] == (
        pytest.approx(2)
    )
