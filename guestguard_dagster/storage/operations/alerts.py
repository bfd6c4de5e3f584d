"""Alerts: what is wrong now, and since when. One is open per subject at a time; operators are told once of each."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from guestguard_dagster.domain.system_mail import SystemMail
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations import system_mail
from guestguard_dagster.storage.tables.operations import alerts


@dataclass(frozen=True, slots=True)
class NewAlert:
    """`subject` names what is wrong, e.g. one check or one job, and stays the same for as long as it is."""

    subject: str
    title: str
    detail: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """One row of alerts."""

    id: UUID
    subject: str
    title: str
    detail: str
    link: str | None
    opened_at: datetime
    closed_at: datetime | None
    told_at: datetime | None


_COLUMNS = [alerts.c[name] for name in Alert.__dataclass_fields__]


class AlertRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_all(self, new: Sequence[NewAlert]) -> int:
        """Open these alerts; one whose subject has one open already changes nothing. Returns how many are new."""
        if not new:
            return 0
        rows = [
            {"subject": alert.subject, "title": alert.title, "detail": alert.detail, "link": alert.link}
            for alert in new
        ]
        statement = insert(alerts).on_conflict_do_nothing().returning(alerts.c.id)
        with self._database.transaction() as connection:
            return len(connection.execute(statement, rows).all())

    def close(self, subjects: Collection[str]) -> int:
        """What was wrong with these subjects is over; returns how many alerts that ends."""
        statement = (
            update(alerts)
            .where(alerts.c.subject.in_(subjects), alerts.c.closed_at.is_(None))
            .values(closed_at=func.clock_timestamp())
        )
        with self._database.transaction() as connection:
            return connection.execute(statement).rowcount

    def open(self) -> list[Alert]:
        """What is wrong now, the oldest first."""
        query = select(*_COLUMNS).where(alerts.c.closed_at.is_(None)).order_by(alerts.c.opened_at, alerts.c.id)
        with self._database.transaction() as connection:
            return [Alert(*row) for row in connection.execute(query)]

    def count_new(self) -> int:
        """How many alerts nobody was told of yet."""
        query = select(func.count()).where(alerts.c.told_at.is_(None))
        with self._database.transaction() as connection:
            return connection.execute(query).scalar_one()

    def tell(self, mails: Callable[[Sequence[Alert]], Sequence[SystemMail]]) -> list[Alert]:
        """Those of which nobody was told yet; they count as told, and `mails` about them are written, together."""
        unsent = (
            update(alerts).where(alerts.c.told_at.is_(None)).values(told_at=func.clock_timestamp()).returning(*_COLUMNS)
        )
        with self._database.transaction() as connection:
            new = sorted((Alert(*row) for row in connection.execute(unsent)), key=lambda alert: alert.opened_at)
            system_mail.post(connection, mails(new) if new else ())
            return new
