"""Failed batches sent again by day: exactly what failed and may be tried again, and nobody gets anything twice."""

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from typing import Any

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult, JobDefinition

from guestguard_dagster.definitions import build_defs
from guestguard_dagster.delivery.retrying import RetryReport, plan_retry, retry
from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import ALL_RETRYABLE, DeliveryStatus
from guestguard_dagster.domain.events import Event, Guest
from guestguard_dagster.domain.messages import Message, MessageChannel, MessageStatus
from guestguard_dagster.partitions import ZONE
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster_tests.dagster_rooms import environment, run_send_job
from guestguard_dagster_tests.factories import (
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    read_message,
    set_columns,
)
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.storage.racing import race

A_DAY = timedelta(days=1)
TEMPORARY: dict[str, Any] = {"retryable": True, "reason": "retries_exhausted", "provider": "smtp"}


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(autouse=True)
def mail_server(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server, environment(monkeypatch, database_url, server):
        yield server


class Batch:
    """One message that was due at noon some days ago, or at midnight today; for whom it was sent, and failed."""

    def __init__(self, database: Database, event: Event, *, days_ago: int, failed: int = 2, sent: int = 3) -> None:
        today = Days.containing(database.now(), ZONE)
        due = today.start - days_ago * A_DAY + timedelta(hours=12 if days_ago else 0)
        self.day = f"{today.first - days_ago * A_DAY}"
        self.message: Message = make_message(
            database,
            event,
            status=MessageStatus.SENT,
            send_at=due,
            audience_frozen_at=due,
            recipient_count=failed + sent,
        )
        self.failed: list[Guest] = make_guests(database, event, failed)
        self.rows = make_deliveries(
            database,
            self.message,
            self.failed,
            status=DeliveryStatus.FAILED,
            **TEMPORARY,
            error_class="content_deferred",
            settled_at=due,
        )
        make_deliveries(
            database, self.message, make_guests(database, event, sent), status=DeliveryStatus.SENT, handed_off_at=due
        )

    @property
    def addresses(self) -> dict[str | None, int]:
        """Each guest for whom it failed, once."""
        return {guest.email: 1 for guest in self.failed}


@pytest.fixture
def event(database: Database) -> Event:
    return make_event(database)


@cache
def job(name: str) -> JobDefinition:
    return build_defs().resolve_job_def(name)


def run(
    instance: DagsterInstance,
    name: str,
    day: str,
    *,
    tags: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
) -> ExecuteInProcessResult:
    """One day of a backfill, as the daemon launches it, or a run from the Launchpad."""
    [op] = [node.name for node in job(name).nodes]
    return job(name).execute_in_process(
        instance=instance,
        partition_key=day,
        tags=tags,
        run_config={"ops": {op: {"config": config or {}}}},
        raise_on_error=False,
    )


def shown(result: ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the run's one op."""
    assert result.success
    [output] = [event.step_output_data for event in result.all_events if event.is_successful_output]
    return {name: entry.value for name, entry in output.metadata.items()}


def reopened(instance: DagsterInstance, day: str, **narrowed: Any) -> int:
    count: int = shown(run(instance, "retry_failed_deliveries", day, **narrowed))["reopened"]
    return count


def statuses(database: Database, *batches: Batch) -> Counter[DeliveryStatus]:
    messages = MessageRepo(database)
    stats = messages.delivery_stats([batch.message.id for batch in batches])
    return sum((Counter(each.by_status) for each in stats.values()), Counter())


def test_the_failed_deliveries_of_the_chosen_day_are_sent_again_and_nothing_else(
    instance: DagsterInstance, database: Database, event: Event, mail_server: SmtpLoopback
) -> None:
    chosen, other = Batch(database, event, days_ago=3), Batch(database, event, days_ago=2)

    assert reopened(instance, chosen.day) == 2
    run_send_job(instance, [chosen.message.id, other.message.id])

    assert mail_server.recipients() == chosen.addresses
    assert statuses(database, chosen) == {DeliveryStatus.SENT: 5}
    assert statuses(database, other) == {DeliveryStatus.SENT: 3, DeliveryStatus.FAILED: 2}
    assert read_message(database, chosen.message.id).status is MessageStatus.SENT


def test_today_can_be_chosen(instance: DagsterInstance, database: Database, event: Event) -> None:
    today = Batch(database, event, days_ago=0)
    assert today.day in job("retry_failed_deliveries").partitions_def.get_partition_keys()  # type: ignore[union-attr]

    assert reopened(instance, today.day) == 2


def test_what_was_refused_for_good_is_not_tried_again(
    instance: DagsterInstance, database: Database, event: Event
) -> None:
    batch = Batch(database, event, days_ago=1)
    set_columns(database, batch.rows[0], retryable=False, reason="refused")

    assert reopened(instance, batch.day) == 1


def test_a_second_backfill_over_the_same_days_sends_nothing_twice(
    instance: DagsterInstance, database: Database, event: Event, mail_server: SmtpLoopback
) -> None:
    batch = Batch(database, event, days_ago=1)

    assert [reopened(instance, batch.day), reopened(instance, batch.day)] == [2, 0]
    run_send_job(instance, [batch.message.id])
    assert reopened(instance, batch.day) == 0
    run_send_job(instance, [batch.message.id])

    assert mail_server.recipients() == batch.addresses


def test_of_backfills_that_meet_on_a_message_one_opens_it(database: Database, event: Event) -> None:
    batch = Batch(database, event, days_ago=1, failed=20)
    plan = plan_retry(database, Days.only(date.fromisoformat(batch.day), ZONE), ALL_RETRYABLE)
    reports: list[RetryReport] = []

    race([lambda: reports.append(retry(database, plan))] * 4)

    assert sorted(sum(report.reopened.values()) for report in reports) == [0, 0, 0, 20]
    assert statuses(database, batch)[DeliveryStatus.PENDING] == 20


def test_the_runs_of_a_retry_can_be_executed_again_in_bulk(
    instance: DagsterInstance, database: Database, event: Event, mail_server: SmtpLoopback
) -> None:
    batch = Batch(database, event, days_ago=1)
    reopened(instance, batch.day)

    for _ in range(3):
        run_send_job(instance, [batch.message.id], tags={"dagster/parent_run_id": "the run before"})

    assert mail_server.recipients() == batch.addresses


def test_nothing_of_an_event_that_is_over_is_sent_again(
    instance: DagsterInstance, database: Database, event: Event
) -> None:
    batch = Batch(database, event, days_ago=2)
    set_columns(database, event, starts_at=database.now() - timedelta(hours=1))

    result = shown(run(instance, "retry_failed_deliveries", batch.day))

    assert result["reopened"] == 0
    assert result["messages that cannot be tried again now"] == 1
    assert "its event has started" in str(result["found"])
    assert statuses(database, batch)[DeliveryStatus.FAILED] == 2


def test_nothing_of_a_cancelled_event_is_sent_again(
    instance: DagsterInstance, database: Database, event: Event
) -> None:
    batch = Batch(database, event, days_ago=1)
    set_columns(database, event, cancelled_at=database.now())

    assert reopened(instance, batch.day) == 0


def test_guests_who_unsubscribed_or_were_removed_since_are_spared(
    instance: DagsterInstance, database: Database, event: Event, mail_server: SmtpLoopback
) -> None:
    batch = Batch(database, event, days_ago=1, failed=3)
    unsubscribed, removed, stays = batch.failed
    SuppressionRepo(database).add(
        MessageChannel.EMAIL, unsubscribed.email or "", reason="unsubscribe", source="the guest"
    )
    GuestRepo(database).remove(removed.id)

    before = shown(run(instance, "preview_retry_failed", batch.day))
    reopened(instance, batch.day)
    run_send_job(instance, [batch.message.id])

    assert (before["deliveries that fit"], before["would leave as things stand"]) == (3, 1)
    assert mail_server.recipients() == {stays.email: 1}
    assert statuses(database, batch) == {
        DeliveryStatus.SENT: 4,
        DeliveryStatus.SUPPRESSED: 1,
        DeliveryStatus.SKIPPED: 1,
    }


def test_the_preview_shows_what_would_be_sent_and_changes_nothing(
    instance: DagsterInstance, database: Database, event: Event
) -> None:
    batch = Batch(database, event, days_ago=1)

    result = shown(run(instance, "preview_retry_failed", batch.day))

    assert result["deliveries that fit"] == 2
    assert str(batch.message.id) in str(result["found"])
    assert statuses(database, batch)[DeliveryStatus.FAILED] == 2
    assert read_message(database, batch.message.id) == batch.message


@pytest.mark.parametrize("through", ["tags", "config"])
@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("provider", "resend", 1),
        ("provider", "smtp, resend", 3),
        ("provider", "ses", 0),
        ("error_class", "rate_limit_exceeded", 1),
        ("error_class", "content_deferred", 2),
    ],
)
def test_tags_and_config_narrow_a_retry(
    instance: DagsterInstance, database: Database, event: Event, through: str, field: str, value: str, fits: int
) -> None:
    batch = Batch(database, event, days_ago=1, failed=3)
    set_columns(database, batch.rows[0], provider="resend", error_class="rate_limit_exceeded")
    narrowed = {"tags": {f"guestguard.retry/{field}": value}} if through == "tags" else {"config": {field: value}}

    assert reopened(instance, batch.day, **narrowed) == fits


def test_a_retry_can_be_narrowed_to_one_message(instance: DagsterInstance, database: Database, event: Event) -> None:
    wanted, other = Batch(database, event, days_ago=1), Batch(database, event, days_ago=1)

    assert reopened(instance, wanted.day, tags={"guestguard.retry/message": str(wanted.message.id)}) == 2
    assert statuses(database, other)[DeliveryStatus.FAILED] == 2


def test_what_may_have_left_needs_consent(instance: DagsterInstance, database: Database, event: Event) -> None:
    batch = Batch(database, event, days_ago=1)
    for row, rested in zip(batch.rows, (timedelta(hours=2), timedelta(minutes=5)), strict=True):
        set_columns(database, row, status=DeliveryStatus.UNKNOWN, retryable=False, settled_at=database.now() - rested)

    assert reopened(instance, batch.day) == 0
    assert reopened(instance, batch.day, tags={"guestguard.retry/unknown_too": "no"}) == 0
    assert reopened(instance, batch.day, tags={"guestguard.retry/unknown_too": "yes"}) == 1


@pytest.mark.parametrize(
    ("tags", "config"),
    [
        ({"guestguard.retry/providr": "smtp"}, {}),
        ({"guestguard/message": "0"}, {}),
        ({"guestguard.retry/message": "not an id"}, {}),
        ({"guestguard.retry/provider": "smtp"}, {"provider": "resend"}),
    ],
)
def test_what_cannot_be_understood_sends_nothing_instead_of_everything(
    instance: DagsterInstance, database: Database, event: Event, tags: dict[str, str], config: dict[str, Any]
) -> None:
    batch = Batch(database, event, days_ago=1)

    assert not run(instance, "retry_failed_deliveries", batch.day, tags=tags, config=config).success
    assert statuses(database, batch)[DeliveryStatus.FAILED] == 2


def test_a_message_that_is_still_being_sent_is_left_to_its_runs(
    instance: DagsterInstance, database: Database, event: Event
) -> None:
    batch = Batch(database, event, days_ago=1)
    set_columns(database, batch.message, status=MessageStatus.SENDING)

    result = shown(run(instance, "retry_failed_deliveries", batch.day))

    assert result["reopened"] == 0
    assert "still being sent" in str(result["found"])
