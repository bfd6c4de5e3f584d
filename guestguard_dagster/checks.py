"""Asset checks: the promises of this service, looked up in its rows; a broken one shows which rows, and what to do.

`CHECKS` has all of them. The queries belong to `storage.operations.checks`; whom an alert reaches, to `jobs.alerts`.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    Config,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
    asset_check,
)
from pydantic import Field

from guestguard_dagster.assets.delivery_stats import provider_health
from guestguard_dagster.assets.sources import PROMISES
from guestguard_dagster.domain.days import Days
from guestguard_dagster.notifications.registry import RECIPIENTS
from guestguard_dagster.partitions import ZONE
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.settings import SettingsResource
from guestguard_dagster.senders.registry import sending_number
from guestguard_dagster.storage.operations.checks import Check, CheckRepo

HARD_BOUNCES_BELOW = 0.05
COMPLAINTS_WARN_FROM = 0.001
COMPLAINTS_FAIL_FROM = 0.003
_RATES_OVER_DAYS = 7


class LookBack(Config):
    """How far back is looked. The Launchpad can widen it."""

    days: int = Field(default=35, ge=1, description="deliveries that were due within so many days")

    def since(self, database: DatabaseResource) -> datetime:
        return database.get().now() - timedelta(days=self.days)


@asset_check(
    asset=PROMISES.key,
    description="Every message that has ended has as many deliveries as its audience had guests when it was frozen.",
)
def audiences_match_their_deliveries(config: LookBack, database: DatabaseResource) -> AssetCheckResult:
    return _judged(
        CheckRepo(database.get()).wrong_audiences(config.since(database)),
        "Rows were added or deleted by hand, or by something else that shares the database.",
    )


@asset_check(
    asset=PROMISES.key,
    description="Everything that is due has left, is leaving, or waits for a reason that is written down.",
)
def nothing_is_overdue(database: DatabaseResource) -> AssetCheckResult:
    return _judged(
        CheckRepo(database.get()).overdue(),
        "Look at the Runs page: is the daemon ticking, are runs queued, do they fail? `guestguard doctor` tells.",
    )


@asset_check(
    asset=PROMISES.key,
    description="No guest has two deliveries of one message on one channel; no notification has two.",
)
def no_delivery_is_doubled(config: LookBack, database: DatabaseResource) -> AssetCheckResult:
    return _judged(
        CheckRepo(database.get()).duplicates(config.since(database)),
        "The unique index on message_deliveries is gone: bring it back with `guestguard migrate` or a restore.",
    )


@asset_check(
    asset=PROMISES.key,
    description="Nothing was handed off to an address that had been suppressed before, as far as that reaches.",
)
def no_suppressed_address_is_written_to(
    config: LookBack, database: DatabaseResource, settings: SettingsResource
) -> AssetCheckResult:
    number = sending_number(settings.get())
    since = config.since(database)
    return _judged(
        CheckRepo(database.get()).written_to_despite_suppression(since, RECIPIENTS, sending_number=number),
        "Apologise, and find out who wrote past the engine: every hand-off looks at suppressions first.",
    )


@asset_check(
    asset=PROMISES.key,
    description="No delivery stays `sending` after its lease has run out, unless its message is held or waits.",
)
def nothing_is_stuck_in_a_hand_off(database: DatabaseResource) -> AssetCheckResult:
    return _judged(
        CheckRepo(database.get()).stuck_hand_offs(),
        "The next run of the message settles these rows; if none comes, the due_messages sensor does not tick.",
    )


@asset_check(
    asset=PROMISES.key,
    description="No event from NATS that could not be used waits for somebody to replay or dismiss it.",
)
def no_dead_letter_waits(database: DatabaseResource) -> AssetCheckResult:
    return _judged(
        CheckRepo(database.get()).open_dead_letters(),
        "Run list_dead_letters to read them, then replay_dead_letters or dismiss_dead_letters.",
        severity=AssetCheckSeverity.WARN,
    )


@asset_check(
    asset=provider_health,
    description=f"Hard bounces are below {HARD_BOUNCES_BELOW:.0%} of a provider account's mail in {_RATES_OVER_DAYS} "
    "days, from a minimum volume on. Providers suspend accounts beyond that.",
)
def hard_bounces_are_rare(database: DatabaseResource, settings: SettingsResource) -> AssetCheckResult:
    volumes, bounces, _ = _last_days(database)
    rates = _rates(bounces, volumes, from_volume=settings.get().rate_checks_from_volume)
    worst = max(rates.values(), default=0.0)
    return AssetCheckResult(
        passed=worst < HARD_BOUNCES_BELOW,
        severity=AssetCheckSeverity.ERROR,
        description=None if worst < HARD_BOUNCES_BELOW else "Stop mailing lists that guests have not given themselves.",
        metadata=_rates_metadata("bounce rate", volumes, bounces, rates),
    )


@asset_check(
    asset=provider_health,
    description=f"Complaints are below {COMPLAINTS_WARN_FROM:.1%} of a provider account's mail in {_RATES_OVER_DAYS} "
    f"days, from a minimum volume on; from {COMPLAINTS_FAIL_FROM:.1%} on mail providers block the sender.",
)
def complaints_are_rare(database: DatabaseResource, settings: SettingsResource) -> AssetCheckResult:
    volumes, _, complaints = _last_days(database)
    rates = _rates(complaints, volumes, from_volume=settings.get().rate_checks_from_volume)
    worst = max(rates.values(), default=0.0)
    return AssetCheckResult(
        passed=worst < COMPLAINTS_WARN_FROM,
        severity=AssetCheckSeverity.ERROR if worst >= COMPLAINTS_FAIL_FROM else AssetCheckSeverity.WARN,
        description=None if worst < COMPLAINTS_WARN_FROM else "Find the messages that were complained about.",
        metadata=_rates_metadata("complaint rate", volumes, complaints, rates),
    )


CHECKS = [
    audiences_match_their_deliveries,
    nothing_is_overdue,
    no_delivery_is_doubled,
    no_suppressed_address_is_written_to,
    nothing_is_stuck_in_a_hand_off,
    no_dead_letter_waits,
    hard_bounces_are_rare,
    complaints_are_rare,
]


def _judged(
    check: Check, what_to_do: str, *, severity: AssetCheckSeverity = AssetCheckSeverity.ERROR
) -> AssetCheckResult:
    if check.passed:
        return AssetCheckResult(passed=True, severity=severity, metadata={"found": 0})
    columns = list(check.examples[0])
    records = [TableRecord({name: _cell(value) for name, value in example.items()}) for example in check.examples]
    return AssetCheckResult(
        passed=False,
        severity=severity,
        description=f"{check.found} found. {what_to_do}",
        metadata={
            "found": check.found,
            "examples": MetadataValue.table(records, schema=TableSchema([TableColumn(name) for name in columns])),
        },
    )


def _cell(value: object) -> str | int:
    return value if isinstance(value, int) else "" if value is None else str(value)


def _last_days(database: DatabaseResource) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Mails, hard bounces and complaints of each provider account in the days up to today."""
    from guestguard_dagster.storage.statistics.reading import StatsReader

    today = Days.containing(database.get().now(), ZONE)
    rows = StatsReader(database.get()).providers(today.widened(_RATES_OVER_DAYS - 1))
    volumes, bounces, complaints = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        volumes[row.account] += row.handed_off + row.refused_mailboxes
        bounces[row.account] += row.bounced + row.refused_mailboxes
        complaints[row.account] += row.complained
    return volumes, bounces, complaints


def _rates(counted: Counter[str], volumes: Counter[str], *, from_volume: int) -> dict[str, float]:
    return {account: counted[account] / volume for account, volume in volumes.items() if volume >= from_volume}


def _rates_metadata(
    what: str, volumes: Counter[str], counted: Counter[str], rates: Mapping[str, float]
) -> dict[str, Any]:
    records = [
        TableRecord(
            {
                "account": account,
                "mails": volume,
                "counted": counted[account],
                what: f"{rates[account]:.3%}" if account in rates else "too few mails to say",
            }
        )
        for account, volume in sorted(volumes.items())
    ]
    schema = TableSchema([TableColumn(name) for name in ("account", "mails", "counted", what)])
    return {"mails": volumes.total(), "accounts": MetadataValue.table(records, schema=schema)}
