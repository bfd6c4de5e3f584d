"""Reports are stored for good, and mailed once: while they are news, and never again when they are written anew."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.system_mail import SystemMail, SystemMailKind
from guestguard_dagster.reporting.document import Document
from guestguard_dagster.reporting.event_report import event_report
from guestguard_dagster.reporting.period_report import period_report
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.alerts import AlertRepo
from guestguard_dagster.storage.statistics.reading import StatsReader
from guestguard_dagster.storage.statistics.report_facts import ReportFacts
from guestguard_dagster.storage.statistics.reports import Content, Report, ReportKind, ReportRepo, Subject

# How long after its period a report is news.
_NEWS_FOR = {
    ReportKind.DAILY: timedelta(days=2),
    ReportKind.WEEKLY: timedelta(days=6),
    ReportKind.EVENT: timedelta(days=4),
}


@dataclass(frozen=True, slots=True)
class Addressee:
    address: str = field(repr=False)
    name: str


@dataclass(frozen=True, slots=True)
class Published:
    """`mailed` people get it now; `not_mailed` says why it is nobody, if so."""

    report: Report
    link: str
    mailed: int
    not_mailed: str | None


def publish_period(
    database: Database,
    settings: Settings,
    kind: ReportKind,
    days: Days,
    notification_labels: Mapping[str, str],
    *,
    mail: bool,
) -> Published:
    """The report on a day or a week, for operators; it names types of notifications by these labels."""
    alerts = [alert.title for alert in AlertRepo(database).open()]
    document = period_report(
        StatsReader(database), ReportFacts(database), days, notification_labels, open_alerts=alerts
    )
    return _publish(
        database,
        settings,
        Subject(kind, days.first, days.last),
        days,
        document,
        [Addressee(address, "") for address in settings.operator_addresses] if mail else [],
        mail_subject=f"{document.title} · {document.period}",
    )


def publish_events(database: Database, settings: Settings, day: Days, *, mail: bool) -> list[Published]:
    """One report on each event that was over on this day, for its host, who is not bothered with an empty one."""
    published = []
    for event, host in ReportFacts(database).ended_events(day):
        document = event_report(ReportFacts(database), event)
        published.append(
            _publish(
                database,
                settings,
                Subject(ReportKind.EVENT, day.first, day.last, event.id),
                day,
                document,
                [Addressee(host.email, host.name)] if mail and not document.is_empty else [],
                mail_subject=f"How your messages went: {event.name}",
            )
        )
    return published


def _publish(
    database: Database,
    settings: Settings,
    subject: Subject,
    days: Days,
    document: Document,
    addressees: Iterable[Addressee],
    *,
    mail_subject: str,
) -> Published:
    """Store the document as the report on this subject, and mail it to those who have not had it yet.

    A report on days that are not over, or that were over long ago, is stored and not mailed.
    """
    link = report_link(settings, subject)
    # the page is for operators; a host has it all in the mail
    link_in_mail = None if subject.kind is ReportKind.EVENT else link
    why_not = _why_not_mailed(subject.kind, days, database.now())
    mails = [
        SystemMail(
            SystemMailKind.REPORT,
            f"report:{subject.name}",
            addressee.address,
            addressee.name,
            mail_subject,
            document.mail_text(link=link_in_mail),
            document.mail_html(link=link_in_mail),
        )
        for addressee in addressees
        if why_not is None
    ]
    if not mails and why_not is None:
        why_not = "there is nobody to mail it to"
    content = Content(document.title, document.page(), document.summary(), document.is_empty)
    report, mailed = ReportRepo(database).publish(subject, content, mails)
    if mails and not mailed:
        why_not = "it was mailed before"
    return Published(report, link, mailed, why_not)


def report_link(settings: Settings, subject: Subject) -> str:
    """Where operators read it."""
    return f"{settings.public_base_url.rstrip('/')}/reports/{subject.report_id}"


def _why_not_mailed(kind: ReportKind, days: Days, now: datetime) -> str | None:
    if now < days.end:
        return "its days are not over yet"
    return "its days were over long ago" if now > days.end + _NEWS_FOR[kind] else None
