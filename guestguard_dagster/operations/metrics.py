"""Metrics in the text format of Prometheus, read from the rows at each scrape: nothing is counted in this process."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from guestguard_dagster.domain.days import Days
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.gauges import GaugeRepo
from guestguard_dagster.storage.statistics.reading import StatsReader

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def exposition(database: Database, settings: Settings) -> str:
    """Everything, as one page. What is said of today comes from statistics, which are some minutes old at most."""
    return generate_latest(_RowCollector(database, settings)).decode()


class _RowCollector(Collector):
    """Not registered with the library's own registry, which also tells of this process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        yield from _present(self._database)
        yield from _today(self._database, self._settings)


def _present(database: Database) -> Iterator[Metric]:
    gauges = GaugeRepo(database).read()
    yield _gauge(
        "guestguard_messages",
        "Messages that are scheduled or being sent.",
        ["status"],
        (([status], count) for status, count in gauges.messages_by_status.items()),
    )
    yield _one("guestguard_messages_held", "Messages that wait until somebody resumes them.", gauges.messages_held)
    yield _gauge(
        "guestguard_deliveries_waiting",
        "Deliveries that are not settled.",
        ["channel", "status"],
        gauges.deliveries_waiting.items(),
    )
    yield _one("guestguard_oldest_due_seconds", "How late the latest due message is.", gauges.oldest_due_seconds)
    yield _one("guestguard_open_breakers", "Provider accounts that take nothing at the moment.", gauges.open_breakers)
    yield _one("guestguard_open_dead_letters", "Events that could not be used.", gauges.open_dead_letters)
    yield _one("guestguard_open_alerts", "Alerts that are open.", gauges.open_alerts)
    yield _one(
        "guestguard_behind_ledger",
        "1 while nothing is sent, because the database was restored behind its ledger.",
        gauges.behind_ledger,
    )
    yield _one(
        "guestguard_seconds_since_ledger_check",
        "How long ago the database was last seen to know what its ledger knows.",
        gauges.seconds_since_ledger_check,
    )
    yield _gauge(
        "guestguard_seconds_since_tick",
        "How long ago a sensor of the daemon ticked.",
        ["sensor"],
        (([sensor], seconds) for sensor, seconds in gauges.seconds_since_tick.items()),
    )
    hand_offs = CounterMetricFamily(
        "guestguard_hand_offs_total",
        "Hand-offs to providers by what was answered.",
        labels=["provider", "account", "answer"],
    )
    for labels, count in gauges.hand_offs.items():
        hand_offs.add_metric(labels, count)
    yield hand_offs


def _today(database: Database, settings: Settings) -> Iterator[Metric]:
    reader = StatsReader(database)
    today = Days.containing(database.now(), settings.operator_zone)
    yield _gauge(
        "guestguard_deliveries_today",
        "Deliveries that were due today, by where they stand.",
        ["channel", "kind", "provider", "outcome"],
        (([row.channel, row.kind, row.provider, row.outcome], row.deliveries) for row in reader.daily(today)),
    )
    yield _gauge(
        "guestguard_latency_today_seconds",
        "Seconds from the instant that deliveries were due today.",
        ["channel", "until", "quantile"],
        (
            ([row.channel, until, quantile], seconds)
            for row in reader.latencies(today)
            for until, quantile, seconds in (
                ("hand_off", "0.5", row.hand_off_p50),
                ("hand_off", "0.95", row.hand_off_p95),
                ("hand_off", "0.99", row.hand_off_p99),
                ("delivered", "0.5", row.delivered_p50),
                ("delivered", "0.95", row.delivered_p95),
                ("delivered", "0.99", row.delivered_p99),
            )
            if seconds is not None
        ),
    )


def _one(name: str, help_text: str, value: float | None) -> GaugeMetricFamily:
    """A gauge without labels, and without a sample where there is no value."""
    return _gauge(name, help_text, [], [] if value is None else [([], value)])


def _gauge(
    name: str, help_text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
