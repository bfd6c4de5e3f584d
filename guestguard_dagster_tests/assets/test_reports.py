"""Reports: stored per period, mailed once, honest about empty periods, and safe whatever an event is called."""

from datetime import date, datetime, timedelta
from functools import cache
from html.parser import HTMLParser

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult, JobDefinition, build_schedule_context
from sqlalchemy import text

from guestguard_dagster.definitions import build_defs
from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.partitions import ZONE
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.alerts import AlertRepo, NewAlert
from guestguard_dagster.storage.statistics.reports import Report, ReportKind, ReportRepo
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message, make_user

A_DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATOR_EMAILS", "ops@example.com, boss@example.com")
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://rsvp.example.com")


@pytest.fixture
def yesterday(database: Database) -> Days:
    return Days.only(Days.containing(database.now(), ZONE).first - A_DAY, ZONE)


@cache
def job(name: str) -> JobDefinition:
    return build_defs().resolve_job_def(name)


def report_on(instance: DagsterInstance, day: Days, *, kind: str = "day") -> ExecuteInProcessResult:
    result = job(f"report_on_{kind}").execute_in_process(instance=instance, partition_key=f"{day.first}")
    assert result.success
    return result


def the_report(database: Database, kind: ReportKind) -> Report:
    repo = ReportRepo(database)
    [listed] = repo.list_latest(kind=kind)
    return repo.get(listed.id)


def mails(database: Database) -> list[tuple[str, str]]:
    """Who was written to, and about what."""
    with database.transaction() as connection:
        rows = connection.execute(
            text(
                "SELECT memo.address, memo.subject FROM memos memo "
                "JOIN message_deliveries d ON d.memo_id = memo.id ORDER BY 1, 2"
            )
        )
        return [(row.address, row.subject) for row in rows]


def send(database: Database, event: Event, at: datetime, **outcomes: int) -> None:
    message = make_message(database, event, status=MessageStatus.SENT, send_at=at)
    for status, count in outcomes.items():
        make_deliveries(
            database,
            message,
            make_guests(database, event, count),
            status=DeliveryStatus(status),
            provider="smtp",
            account="smtp:mail.example.com",
            error_class="content_deferred" if status == "failed" else None,
            retryable=status == "failed",
            handed_off_at=at + timedelta(seconds=1) if status in ("sent", "delivered") else None,
        )


class Page(HTMLParser):
    """The texts of a page, and whatever it would load from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.tags.add(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href") and tag != "a"]

    def handle_data(self, data: str) -> None:
        if self.inside != "style":
            self.texts.append(data.strip())


def test_a_day_is_reported_to_operators_once(instance: DagsterInstance, database: Database, yesterday: Days) -> None:
    send(database, make_event(database), yesterday.start + timedelta(hours=9), delivered=7, failed=2, unknown=1)

    for _ in range(3):
        report_on(instance, yesterday)

    report = the_report(database, ReportKind.DAILY)
    assert report.revision == 3
    assert "10 deliveries were due" in report.summary
    assert "2 failed deliveries can be sent again" in report.summary
    assert [address for address, _ in mails(database)] == ["boss@example.com", "ops@example.com"]


def test_the_page_needs_nothing_but_itself(instance: DagsterInstance, database: Database, yesterday: Days) -> None:
    send(database, make_event(database), yesterday.start, delivered=3)
    report_on(instance, yesterday)

    page = Page(the_report(database, ReportKind.DAILY).html)

    assert page.loads
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert not page.tags & {"script", "link", "iframe"}


def test_an_empty_day_says_so(instance: DagsterInstance, database: Database, yesterday: Days) -> None:
    report_on(instance, yesterday)

    report = the_report(database, ReportKind.DAILY)

    assert report.is_empty
    assert "Nothing was due on this day." in Page(report.html).texts
    assert len(mails(database)) == 2


def test_days_long_ago_and_days_that_are_not_over_are_stored_and_not_mailed(
    instance: DagsterInstance, database: Database, yesterday: Days
) -> None:
    today = Days.only(yesterday.first + A_DAY, ZONE)
    long_ago = Days.only(yesterday.first - 20 * A_DAY, ZONE)

    told = [
        {name: entry.value for name, entry in event.materialization.metadata.items()}
        for day in (today, long_ago)
        for event in report_on(instance, day).get_asset_materialization_events()
        if event.materialization.asset_key.path == ["daily_delivery_report"]
    ]

    assert [entry["not mailed, because"] for entry in told] == [
        "its days are not over yet",
        "its days were over long ago",
    ]
    assert mails(database) == []
    assert len(ReportRepo(database).list_latest(kind=ReportKind.DAILY)) == 2


def test_the_link_in_the_metadata_is_that_of_the_report(
    instance: DagsterInstance, database: Database, yesterday: Days
) -> None:
    [event] = [
        event.materialization
        for event in report_on(instance, yesterday).get_asset_materialization_events()
        if event.materialization.asset_key.path == ["daily_delivery_report"]
    ]

    report = the_report(database, ReportKind.DAILY)

    assert event.metadata["report"].value == f"https://rsvp.example.com/reports/{report.id}"
    assert event.metadata["summary"].value == report.summary


def test_a_week_is_reported_on_its_seven_days(instance: DagsterInstance, database: Database) -> None:
    key = job("report_on_week").partitions_def.get_last_partition_key()  # type: ignore[union-attr]
    assert key is not None
    monday = date.fromisoformat(key)
    event = make_event(database)
    for offset in range(-1, 8):
        day = Days.only(monday + offset * A_DAY, ZONE)
        send(database, event, day.start + timedelta(hours=12), delivered=1)
        report_on(instance, day)

    report_on(instance, Days.only(monday, ZONE), kind="week")

    report = the_report(database, ReportKind.WEEKLY)
    assert (report.first_day, report.last_day) == (monday, monday + 6 * A_DAY)
    assert "7 deliveries were due, after 1 the week before" in report.summary


def test_a_host_hears_the_day_after_whom_the_messages_reached(
    instance: DagsterInstance, database: Database, yesterday: Days
) -> None:
    host = make_user(database, name="Hanna Host", email="hanna@example.com")
    event = make_event(database, owner=host, starts_at=yesterday.start + timedelta(hours=18), name="Garden Party")
    send(database, event, yesterday.start - A_DAY, delivered=3, bounced=1)

    report_on(instance, yesterday)
    report_on(instance, yesterday)

    report = the_report(database, ReportKind.EVENT)
    texts = Page(report.html).texts
    assert "One message went to your guests: 3 of 4 mails and texts arrived." in texts
    assert "The address does not take mail" in texts
    assert [mail for mail in mails(database) if mail[0] == "hanna@example.com"] == [
        ("hanna@example.com", "How your messages went: Garden Party")
    ]
    assert "@" not in " ".join(texts)


@pytest.mark.parametrize("state", ["cancelled", "over today", "without a message"])
def test_a_host_is_not_bothered_about(
    instance: DagsterInstance, database: Database, yesterday: Days, state: str
) -> None:
    ends = yesterday.start + timedelta(hours=30 if state == "over today" else 20)
    event = make_event(
        database,
        starts_at=yesterday.start + timedelta(hours=18),
        ends_at=ends,
        cancelled_at=yesterday.start if state == "cancelled" else None,
    )
    if state != "without a message":
        send(database, event, yesterday.start - A_DAY, delivered=1)

    report_on(instance, yesterday)

    assert {address for address, _ in mails(database)} == {"ops@example.com", "boss@example.com"}


def test_a_name_can_neither_inject_nor_break_a_report(
    instance: DagsterInstance, database: Database, yesterday: Days
) -> None:
    event = make_event(
        database,
        name='<script>alert("x")</script>|` *',
        starts_at=yesterday.start + timedelta(hours=18),
    )
    make_deliveries(
        database,
        make_message(database, event, status=MessageStatus.SENT, send_at=yesterday.start),
        make_guests(database, event, 1, name="<img src=x onerror=alert(1)>"),
        status=DeliveryStatus.BOUNCED,
    )

    report_on(instance, yesterday)

    for kind in (ReportKind.DAILY, ReportKind.EVENT):
        report = the_report(database, kind)
        page = Page(report.html)
        assert "script" not in page.tags
        assert all(load.startswith("data:") for load in page.loads)
        assert "<script" not in report.summary


def test_what_is_wrong_now_is_in_the_report(instance: DagsterInstance, database: Database, yesterday: Days) -> None:
    AlertRepo(database).raise_all([NewAlert("check:x", "no_dead_letter_waits fails", "3 found")])

    report_on(instance, yesterday)

    assert "no_dead_letter_waits fails" in the_report(database, ReportKind.DAILY).summary


@pytest.mark.parametrize(
    ("name", "tick", "asked"),
    [
        ("report_on_yesterday", "2026-03-10T07:00:00", "2026-03-09"),
        ("report_on_last_week", "2026-03-09T07:30:00", "2026-03-02"),
    ],
)
def test_schedules_ask_for_the_period_that_is_over(name: str, tick: str, asked: str) -> None:
    definitions = build_defs()
    schedule = definitions.resolve_schedule_def(name)
    at = datetime.fromisoformat(tick).replace(tzinfo=ZONE)

    [request] = (
        schedule.evaluate_tick(
            build_schedule_context(scheduled_execution_time=at, repository_def=definitions.get_repository_def())
        ).run_requests
        or []
    )

    assert (request.partition_key, request.run_key) == (asked, asked)
