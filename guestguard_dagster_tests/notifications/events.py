"""Drains for tests: a stream of the test's own, and what the rows say afterwards."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from typing import Any

from sqlalchemy import Row, select

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.notifications.intake import EventSource
from guestguard_dagster.notifications.rules import Rules
from guestguard_dagster.notifications.sending import NotificationReport, receive_and_send
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.settings import FRAUD_ALERT_FROM_SCORE
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.tables.notifications import dead_letters, notifications
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster.streams.messages import StreamMessage

RULES = Rules(max_deliveries=3, alert_from_score=FRAUD_ALERT_FROM_SCORE)


def run_once(
    sending: SendContext,
    source: EventSource,
    kind: NotificationType = CONFIRMATION.type,
    *,
    rules: Rules = RULES,
    linger: timedelta = timedelta(),
) -> NotificationReport:
    """Receive and hand off what there is, without waiting for more."""
    return receive_and_send(sending, source, rules, kind, Event(), linger=linger)


def notifications_of(database: Database) -> list[Row[Any]]:
    """The rows in the order of their sequence."""
    with database.transaction() as connection:
        return list(connection.execute(select(notifications).order_by(notifications.c.sequence)))


def statuses_of(database: Database) -> Counter[str]:
    return Counter(row.status for row in notifications_of(database))


def dead_letters_of(database: Database) -> list[Row[Any]]:
    with database.transaction() as connection:
        return list(connection.execute(select(dead_letters).order_by(dead_letters.c.sequence)))


@dataclass
class LosingAnswers:
    """A stream whose acknowledgements get lost, so that everything is delivered again."""

    stream: JetStream
    lost: int = 0

    def fetch(self, kind: NotificationType, *, size: int, wait: timedelta) -> list[StreamMessage]:
        return self.stream.fetch(kind, size=size, wait=wait)

    def settle(
        self,
        *,
        acks: Sequence[StreamMessage] = (),
        terms: Sequence[StreamMessage] = (),
        retries: Sequence[tuple[StreamMessage, timedelta]] = (),
    ) -> None:
        self.lost += len(acks) + len(terms) + len(retries)


@dataclass
class WatchingAnswers:
    """A stream that looks, with every acknowledgement, whether another process could already see what it is about."""

    stream: JetStream
    database: Database
    unseen: list[int] = field(default_factory=list)

    def fetch(self, kind: NotificationType, *, size: int, wait: timedelta) -> list[StreamMessage]:
        return self.stream.fetch(kind, size=size, wait=wait)

    def settle(
        self,
        *,
        acks: Sequence[StreamMessage] = (),
        terms: Sequence[StreamMessage] = (),
        retries: Sequence[tuple[StreamMessage, timedelta]] = (),
    ) -> None:
        written = {row.sequence for row in [*notifications_of(self.database), *dead_letters_of(self.database)]}
        settled = [message.arrival.sequence for message in [*acks, *terms]]
        self.unseen += [sequence for sequence in settled if sequence not in written]
        self.stream.settle(acks=acks, terms=terms, retries=retries)
