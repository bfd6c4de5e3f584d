"""Metrics in the text format of Prometheus, read from the rows at each scrape: nothing is counted in this process."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from guestguard_dagster.domain.days import Days
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.gauges import GaugeRepo
from guestguard_dagster.storage.statistics.reading import StatsReader

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Metric:
    """One family; a counter only ever grows."""

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[Labels, float]]


def exposition(database: Database, settings: Settings) -> str:
    """Everything, as one page. What is said of today comes from statistics, which are some minutes old at most."""
    return "".join(_lines(metric) for metric in [*_present(database), *_today(database, settings)])


def _present(database: Database) -> list[_Metric]:
    gauges = GaugeRepo(database).read()
    return [
        _Metric(
            "guestguard_messages",
            "gauge",
            "Messages that are scheduled or being sent.",
            [({"status": status}, count) for status, count in gauges.messages_by_status.items()],
        ),
        _one("guestguard_messages_held", "Messages that wait until somebody resumes them.", gauges.messages_held),
        _Metric(
            "guestguard_deliveries_waiting",
            "gauge",
            "Deliveries that are not settled.",
            [
                ({"channel": channel, "status": status}, count)
                for (channel, status), count in gauges.deliveries_waiting.items()
            ],
        ),
        _one("guestguard_oldest_due_seconds", "How late the latest due message is.", gauges.oldest_due_seconds),
        _one("guestguard_open_breakers", "Provider accounts that take nothing at the moment.", gauges.open_breakers),
        _one("guestguard_open_dead_letters", "Events that could not be used.", gauges.open_dead_letters),
        _one("guestguard_open_alerts", "Alerts that are open.", gauges.open_alerts),
        _one(
            "guestguard_behind_ledger",
            "1 while nothing is sent, because the database was restored behind its ledger.",
            gauges.behind_ledger,
        ),
        _Metric(
            "guestguard_seconds_since_ledger_check",
            "gauge",
            "How long ago the database was last seen to know what its ledger knows.",
            [] if gauges.seconds_since_ledger_check is None else [({}, gauges.seconds_since_ledger_check)],
        ),
        _Metric(
            "guestguard_seconds_since_tick",
            "gauge",
            "How long ago a sensor of the daemon ticked.",
            [({"sensor": sensor}, seconds) for sensor, seconds in gauges.seconds_since_tick.items()],
        ),
        _Metric(
            "guestguard_hand_offs_total",
            "counter",
            "Hand-offs to providers by what was answered.",
            [
                ({"provider": provider, "account": account, "answer": answer}, count)
                for (provider, account, answer), count in gauges.hand_offs.items()
            ],
        ),
    ]


def _today(database: Database, settings: Settings) -> list[_Metric]:
    reader = StatsReader(database)
    today = Days.containing(database.now(), settings.operator_zone)
    latencies = [
        ({"channel": row.channel.value, "until": until, "quantile": quantile}, seconds)
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
    ]
    return [
        _Metric(
            "guestguard_deliveries_today",
            "gauge",
            "Deliveries of the batches that were due today, by where they stand.",
            [
                (
                    {
                        "channel": row.channel.value,
                        "kind": row.kind,
                        "provider": row.provider,
                        "outcome": row.outcome.value,
                    },
                    row.deliveries,
                )
                for row in reader.daily(today)
            ],
        ),
        _Metric(
            "guestguard_latency_today_seconds",
            "gauge",
            "Seconds from the instant that deliveries were due today.",
            latencies,
        ),
    ]


def _one(name: str, help_text: str, value: float) -> _Metric:
    return _Metric(name, "gauge", help_text, [({}, value)])


def _lines(metric: _Metric) -> str:
    head = f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
    return head + "".join(f"{metric.name}{_labels(labels)} {value:.10g}\n" for labels, value in metric.samples)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
