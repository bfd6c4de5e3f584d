"""How deliveries went in a day or a week, for operators: the numbers, what needs somebody, and where to look."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import HANDED_OFF_STATUSES, DeliveryStatus
from guestguard_dagster.domain.messages import MessageChannel, MessageKind
from guestguard_dagster.domain.system_mail import SystemMailKind
from guestguard_dagster.reporting.charts import stacked_bars
from guestguard_dagster.reporting.document import Card, Cell, Document, Section, Table
from guestguard_dagster.reporting.outcomes import COLOURS, outcome_series
from guestguard_dagster.storage.statistics.reading import LatencyRow, Outcomes, StatsReader
from guestguard_dagster.storage.statistics.report_facts import Failure, ReportFacts

_TREND_DAYS = 14
_MOST_ROWS = 15
_LABELS: Mapping[str, str] = {kind.value: kind.label for kind in (*MessageKind, *SystemMailKind)}


def period_report(
    reader: StatsReader,
    facts: ReportFacts,
    days: Days,
    notification_labels: Mapping[str, str],
    *,
    open_alerts: Sequence[str] = (),
) -> Document:
    """One day makes a daily report, several one about all of them. Alerts that are open now are among its notices."""
    labels = {**_LABELS, **notification_labels}
    title = "Daily delivery report" if len(days) == 1 else "Weekly delivery report"
    by_day = reader.outcomes_by_day(days.widened(max(_TREND_DAYS, len(days) * 2) - len(days)))
    total = _total(by_day, days)
    footer = f"Days are those of {days.zone.key}. Latencies count from the moment a delivery was due."
    if not total:
        lead = "Nothing was due on this day." if len(days) == 1 else "Nothing was due on any of these days."
        return Document(title, _period(days), lead, notices=open_alerts, footer=footer)
    failures = facts.failures(days, limit=_MOST_ROWS)
    latencies = reader.latencies(days)
    return Document(
        title=title,
        period=_period(days),
        lead=_lead(total, _total(by_day, _before(days)), days),
        cards=_cards(total, latencies),
        notices=[*open_alerts, *_notices(total, failures, days)],
        sections=[
            _trend(by_day, days),
            _by_kind(reader, days, labels),
            *_failed(failures),
            _providers(reader, days),
            _largest(reader, days, labels),
        ],
        footer=footer,
    )


def _before(days: Days) -> Days:
    """As many days, right before these."""
    last = days.first - timedelta(days=1)
    return Days(last - timedelta(days=len(days) - 1), last, days.zone)


def _total(by_day: Mapping[date, Outcomes], days: Days) -> Counter[DeliveryStatus]:
    return sum((Counter(by_day.get(day.first, {})) for day in days), Counter[DeliveryStatus]())


def _period(days: Days) -> str:
    if len(days) == 1:
        return f"{days.first:%A, %d %B %Y}"
    return f"{days.first:%d %B} – {days.last:%d %B %Y}"


def _lead(total: Counter[DeliveryStatus], before: Counter[DeliveryStatus], days: Days) -> str:
    handed_off = _handed_off(total)
    when = "the day before" if len(days) == 1 else "the week before"
    compared = f", after {_number(before.total())} {when}" if before else f"; {when} there were none"
    return (
        f"{_number(total.total())} deliveries were due{compared}. "
        f"{_number(handed_off)} of them ({_share(handed_off, total.total())}) were taken by a provider."
    )


def _cards(total: Counter[DeliveryStatus], latencies: Sequence[LatencyRow]) -> list[Card]:
    everything, handed_off = total.total(), _handed_off(total)
    delivered = total[DeliveryStatus.DELIVERED]
    cards = [
        Card("Handed off", _share(handed_off, everything), "good" if handed_off == everything else "plain"),
        Card("Confirmed delivered", _share(delivered, handed_off), note=f"{_number(delivered)} deliveries"),
        _count_card("Failed", total[DeliveryStatus.FAILED], everything),
        _count_card("Unknown", total[DeliveryStatus.UNKNOWN], everything),
        _count_card("Bounced", total[DeliveryStatus.BOUNCED], handed_off),
        _count_card("Complaints", total[DeliveryStatus.COMPLAINED], handed_off),
    ]
    for channel in MessageChannel:
        slowest = _slowest(row for row in latencies if row.channel is channel)
        if slowest is not None and slowest.hand_off_p95 is not None and slowest.hand_off_p50 is not None:
            note = f"half within {_seconds(slowest.hand_off_p50)}"
            if len(latencies) > len(MessageChannel):
                note += f", on {slowest.day:%d %b}, the slowest day"
            cards.append(Card(f"95 % of {_channel(channel)} left within", _seconds(slowest.hand_off_p95), note=note))
    return cards


def _notices(total: Counter[DeliveryStatus], failures: Iterable[Failure], days: Days) -> list[str]:
    notices = []
    retryable = sum(failure.retryable for failure in failures)
    if retryable:
        notices.append(
            f"{_number(retryable)} failed deliveries can be sent again: backfill the job retry_failed_deliveries for "
            f"{days}; preview_retry_failed shows them first."
        )
    if unknown := total[DeliveryStatus.UNKNOWN]:
        notices.append(
            f"{_number(unknown)} deliveries may or may not have arrived: their provider's answer was lost. They are "
            "sent again only with the tag guestguard.retry/unknown_too = yes."
        )
    if waiting := total[DeliveryStatus.PENDING] + total[DeliveryStatus.SENDING]:
        notices.append(f"{_number(waiting)} deliveries have not left yet.")
    return notices


def _trend(by_day: Mapping[date, Outcomes], days: Days) -> Section:
    shown = days.widened(max(_TREND_DAYS, len(days) * 2) - len(days))
    labels = [f"{day.first:%d %b}" for day in shown]
    chart = stacked_bars(
        "Deliveries per day by outcome", labels, outcome_series([by_day.get(day.first, {}) for day in shown])
    )
    outcomes = [status for status in COLOURS if any(status in counted for counted in by_day.values())]
    rows: list[list[Cell]] = [
        [f"{day.first:%a %d %b}", sum(counted.values()), *(counted.get(status, 0) for status in outcomes)]
        for day in shown
        if (counted := by_day.get(day.first))
    ]
    return Section(
        "Day by day", table=Table(["Day", "Deliveries", *(status.value for status in outcomes)], rows), chart=chart
    )


def _by_kind(reader: StatsReader, days: Days, labels: Mapping[str, str]) -> Section:
    counted: dict[tuple[str, str], Counter[DeliveryStatus]] = {}
    for row in reader.daily(days):
        counted.setdefault((row.channel.value, row.kind), Counter())[row.outcome] += row.deliveries
    rows: list[list[Cell]] = [
        [
            labels.get(kind, kind),
            channel,
            outcomes.total(),
            _handed_off(outcomes),
            outcomes[DeliveryStatus.FAILED],
            outcomes[DeliveryStatus.BOUNCED] + outcomes[DeliveryStatus.COMPLAINED],
            outcomes[DeliveryStatus.SKIPPED] + outcomes[DeliveryStatus.SUPPRESSED],
        ]
        for (channel, kind), outcomes in sorted(counted.items(), key=lambda item: -item[1].total())
    ]
    columns = ["Kind", "Channel", "Deliveries", "Handed off", "Failed", "Bounced or complained", "Not meant any more"]
    return Section("What was sent", table=Table(columns, rows))


def _providers(reader: StatsReader, days: Days) -> Section:
    attempts, taken, bounced, complained = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    slowest: dict[str, float] = {}
    errors: dict[str, Counter[str]] = {}
    for row in reader.providers(days):
        attempts[row.account] += row.attempts
        taken[row.account] += row.taken
        bounced[row.account] += row.bounced + row.refused_mailboxes
        complained[row.account] += row.complained
        slowest[row.account] = max(slowest.get(row.account, 0.0), row.answer_p95 or 0.0)
        if row.commonest_error is not None:
            errors.setdefault(row.account, Counter())[row.commonest_error] += 1
    rows: list[list[Cell]] = [
        [
            account,
            attempts[account],
            taken[account],
            bounced[account],
            complained[account],
            _seconds(slowest[account]),
            errors[account].most_common(1)[0][0] if account in errors else "",
        ]
        for account in sorted(attempts, key=lambda account: -attempts[account])
    ]
    columns = ["Account", "Hand-offs", "Taken", "Hard bounces", "Complaints", "Answer p95", "Commonest error"]
    return Section("Providers", table=Table(columns, rows))


def _largest(reader: StatsReader, days: Days, labels: Mapping[str, str]) -> Section:
    rows: list[list[Cell]] = [
        [
            message.event_name or "(deleted)",
            labels.get(message.kind, message.kind),
            f"{message.send_at.astimezone(days.zone):%d %b %H:%M}",
            message.recipients,
            _handed_off(Counter(message.outcomes)),
            message.outcomes.get(DeliveryStatus.FAILED, 0),
            "" if message.hand_off_p95 is None else _seconds(message.hand_off_p95),
        ]
        for message in reader.messages(days, limit=_MOST_ROWS)
    ]
    columns = ["Event", "Message", "Due", "Recipients", "Handed off", "Failed", "95 % left within"]
    return Section("The largest messages", table=Table(columns, rows))


def _failed(failures: Sequence[Failure]) -> list[Section]:
    if not failures:
        return []
    rows: list[list[Cell]] = [
        [failure.error, failure.status.value, failure.provider or "", failure.deliveries, failure.retryable]
        for failure in failures
    ]
    columns = ["Why", "Status", "Provider", "Deliveries", "Can be sent again"]
    return [Section("What failed", table=Table(columns, rows))]


def _count_card(label: str, count: int, of: int) -> Card:
    return Card(label, _number(count), "bad" if count else "plain", note=_share(count, of) if count else "")


def _handed_off(outcomes: Counter[DeliveryStatus]) -> int:
    return sum(outcomes[status] for status in HANDED_OFF_STATUSES)


def _slowest(rows: Iterable[LatencyRow]) -> LatencyRow | None:
    return max(rows, key=lambda row: row.hand_off_p95 or 0.0, default=None)


def _channel(channel: MessageChannel) -> str:
    return "mail" if channel is MessageChannel.EMAIL else "texts"


def _number(count: int) -> str:
    return f"{count:,}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
