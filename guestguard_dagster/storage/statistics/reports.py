"""Reports as they were written: one per period, or per event, written anew in its place; mailed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from guestguard_dagster.domain.system_mail import SystemMail
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import NotFound
from guestguard_dagster.storage.operations import system_mail
from guestguard_dagster.storage.paging import page_behind
from guestguard_dagster.storage.tables.operations import delivery_reports

_IDS = UUID("5f0c1d0a-2a53-4d37-9d0d-7e5b7c1b5b7e")


class ReportKind(StrEnum):
    DAILY = "daily"
    WEEKLY = "weekly"
    EVENT = "event"


class ReportNotFound(NotFound):
    def __init__(self, report_id: UUID) -> None:
        super().__init__("report", report_id)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a report is on: the days from `first_day` to `last_day`, or an event that was over on them."""

    kind: ReportKind
    first_day: date
    last_day: date
    event_id: UUID | None = None

    @property
    def name(self) -> str:
        """The same for every report on this, and for no other."""
        return f"{self.kind}:{self.event_id or self.first_day}"

    @property
    def report_id(self) -> UUID:
        return uuid5(_IDS, self.name)


@dataclass(frozen=True, slots=True)
class Content:
    """`html` is a whole page, `summary` the same in short as Markdown."""

    title: str
    html: str = field(repr=False)
    summary: str = field(repr=False)
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Report:
    """One row of delivery_reports. `revision` counts how often it was written."""

    id: UUID
    kind: ReportKind
    first_day: date
    last_day: date
    event_id: UUID | None
    title: str
    html: str = field(repr=False)
    summary: str = field(repr=False)
    is_empty: bool
    revision: int
    created_at: datetime
    updated_at: datetime


_COLUMNS = [delivery_reports.c[column.name] for column in fields(Report)]


class ReportRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, subject: Subject, content: Content, mails: Sequence[SystemMail] = ()) -> tuple[Report, int]:
        """Write the report, in the place of an earlier one on the same, and its mails, in one transaction.

        Returns it, and how many of the mails nobody had before.
        """
        written = {
            "last_day": subject.last_day,
            "title": content.title,
            "html": content.html,
            "summary": content.summary,
            "is_empty": content.is_empty,
        }
        identity = {
            "id": subject.report_id,
            "kind": subject.kind,
            "first_day": subject.first_day,
            "event_id": subject.event_id,
        }
        anew = {"revision": delivery_reports.c.revision + 1, "updated_at": func.clock_timestamp()}
        statement = (
            insert(delivery_reports)
            .values(identity | written)
            .on_conflict_do_update(index_elements=["id"], set_=written | anew)
            .returning(*_COLUMNS)
        )
        with self._database.transaction() as connection:
            report = _report(connection.execute(statement).one()._asdict())
            return report, system_mail.post(connection, mails)

    def get(self, report_id: UUID) -> Report:
        """Raises ReportNotFound."""
        with self._database.transaction() as connection:
            row = connection.execute(select(*_COLUMNS).where(delivery_reports.c.id == report_id)).one_or_none()
        if row is None:
            raise ReportNotFound(report_id)
        return _report(row._asdict())

    def list_latest(
        self, *, kind: ReportKind | None = None, after: UUID | None = None, limit: int = 50
    ) -> list[Report]:
        """The next `limit` reports behind the report `after`, the latest period first. Their `html` is left out."""
        query = select(*(column for column in _COLUMNS if column.name != "html"))
        if kind is not None:
            query = query.where(delivery_reports.c.kind == kind)
        place = (delivery_reports.c.last_day, delivery_reports.c.id)
        with self._database.transaction() as connection:
            rows = connection.execute(page_behind(query, place, after=after, limit=limit, latest_first=True))
            return [_report(row._asdict() | {"html": ""}) for row in rows]


def _report(values: dict[str, Any]) -> Report:
    return Report(**values | {"kind": ReportKind(values["kind"])})
