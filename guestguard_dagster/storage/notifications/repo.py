"""Notifications: events of the stream written down once, each with its delivery; and what a mail is made of."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Connection, Row, and_, any_, bindparam, func, select

from guestguard_dagster.domain.events import Event, Guest, RsvpStatus, User
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.notifications import Arrival, NotificationStatus, NotificationType, original_of
from guestguard_dagster.domain.payloads import Answered, Identity, Payload
from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.deliveries.batches import BATCH_SIZE
from guestguard_dagster.storage.ledger.position import settle_what_had_left
from guestguard_dagster.storage.paging import page_behind
from guestguard_dagster.storage.people.guests import Answer, record_answers
from guestguard_dagster.storage.rows import EVENT_COLUMNS, GUEST_COLUMNS, USER_COLUMNS
from guestguard_dagster.storage.tables.deliveries import message_deliveries
from guestguard_dagster.storage.tables.notifications import notifications
from guestguard_dagster.storage.tables.people import event_collaborators, events, guests, users


class Fate(StrEnum):
    """What became of an event that was read."""

    RECORDED = "recorded"  # written down, and its mail is to be handed off
    NOT_NEEDED = "not_needed"  # written down; no mail is made of it
    DUPLICATE = "duplicate"  # written down as the same as an earlier one
    KNOWN = "known"  # it was written down before
    UNKNOWN_GUEST = "unknown_guest"  # nothing is written down: the event or guest it is about is not here


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event as it was read, ready to be written down. `not_needed` says why no mail is made of it, if so."""

    arrival: Arrival
    payload: Payload
    identity: Identity
    not_needed: str | None
    # whether it waits until its guest is known, or for its event alone
    needs_guest: bool = True


@dataclass(frozen=True, slots=True)
class Notification:
    """One row of notifications. `payload` holds names and addresses: it never reaches a log."""

    id: UUID
    type: NotificationType
    event_id: UUID | None
    guest_id: UUID | None
    channel: MessageChannel
    status: NotificationStatus
    reason: str | None
    provider_message_id: str | None
    error: str | None
    duplicate_of: UUID | None
    stream: str
    sequence: int
    published_at: datetime
    payload: Mapping[str, Any] = field(repr=False)
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NotificationContext:
    """What the mail of one notification is made of, as known now. `read_at` is the database's clock."""

    delivery_id: int
    type: NotificationType
    payload: Mapping[str, Any] = field(repr=False)
    published_at: datetime
    event: Event
    host: User
    guest: Guest | None
    read_at: datetime


_NOTIFICATION_COLUMNS = [column for column in notifications.c if column.name != "identity"]

_owner = and_(event_collaborators.c.event_id == events.c.id, event_collaborators.c.role == "owner")

# Built once: every group of hand-offs asks for it.
_CONTEXTS = (
    select(
        message_deliveries.c.id,
        notifications.c.type,
        notifications.c.payload,
        notifications.c.published_at,
        *EVENT_COLUMNS,
        *USER_COLUMNS,
        *GUEST_COLUMNS,
        func.clock_timestamp(),
    )
    .select_from(message_deliveries)
    .join(notifications, notifications.c.id == message_deliveries.c.notification_id)
    .join(events, events.c.id == message_deliveries.c.event_id)
    .join(event_collaborators, _owner)
    .join(users, users.c.id == event_collaborators.c.user_id)
    .outerjoin(guests, guests.c.id == notifications.c.guest_id)
    .where(message_deliveries.c.id == any_(bindparam("delivery_ids", type_=ARRAY(BigInteger))))
)


class NotificationRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, kind: NotificationType, incoming: Sequence[Incoming]) -> list[Fate]:
        """Write these events of one type down, each with its delivery, in one transaction; one fate for each.

        Safe to repeat, and for any number of processes at once: one of them writes at a time. A guest's answer is
        written down with its confirmation, if it is the newest.
        """
        with self._database.transaction() as connection:
            connection.execute(
                sql("SELECT pg_advisory_xact_lock(hashtextextended(:kind, 0))"), {"kind": f"notifications:{kind}"}
            )
            return _Recording(connection, kind, incoming).run()

    def contexts(self, delivery_ids: Sequence[int]) -> dict[int, NotificationContext]:
        """What the mails of these deliveries are made of, by delivery; those of no notification are missing."""
        with self._database.transaction() as connection:
            rows = connection.execute(_CONTEXTS, {"delivery_ids": list(delivery_ids)})
            return {row[0]: _context(row) for row in rows}

    def list_by_event(
        self, event_id: UUID, *, after: UUID | None = None, limit: int = 100, latest_first: bool = False
    ) -> list[Notification]:
        """The next `limit` notifications of an event behind the notification `after`, oldest first unless asked."""
        query = select(*_NOTIFICATION_COLUMNS).where(notifications.c.event_id == event_id)
        place = (notifications.c.created_at, notifications.c.id)
        with self._database.transaction() as connection:
            rows = connection.execute(page_behind(query, place, after=after, limit=limit, latest_first=latest_first))
            return [_notification(row) for row in rows]


class _Recording:
    """One transaction of `record`."""

    def __init__(self, connection: Connection, kind: NotificationType, incoming: Sequence[Incoming]) -> None:
        self._connection = connection
        self._kind = kind
        self._incoming = incoming
        self._new: list[dict[str, Any]] = []
        self._answers: list[Answer] = []

    def run(self) -> list[Fate]:
        known = self._known()
        events_here, events_of_guests = self._events_here(), self._events_of_guests()
        earlier, answers = self._earlier(), self._answers_of_guests()
        fates = []
        for each in self._incoming:
            if each.arrival.key in known:
                fates.append(Fate.KNOWN)
                continue
            event_id, guest_id = each.payload.event_id, each.payload.guest_id
            event_is_here = event_id in events_here
            guest_is_here = event_id is not None and events_of_guests.get(guest_id) == event_id
            if each.not_needed is None and not (event_is_here and (guest_is_here or not each.needs_guest)):
                fates.append(Fate.UNKNOWN_GUEST)
                continue
            known.add(each.arrival.key)
            same = earlier[each.identity.key]
            answer = each.payload.answered(each.arrival.published_at)
            others = answers[guest_id]
            changes = [other.at for other in others if other.differs_from(answer)] if answer else []
            original = original_of(each.identity, each.arrival.published_at, same, changes=changes)
            id = each.arrival.notification_id
            if original is None:
                same.append((each.arrival.published_at, id))
            fate = _fate(original, each.not_needed)
            fates.append(fate)
            self._new.append(
                {
                    "id": str(id),
                    "event_id": str(event_id) if event_is_here else None,
                    "guest_id": str(guest_id) if guest_is_here else None,
                    "status": _STATUS_OF[fate],
                    "reason": each.not_needed if fate is Fate.NOT_NEEDED else None,
                    "duplicate_of": original and str(original),
                    "stream": each.arrival.stream,
                    "sequence": each.arrival.sequence,
                    "published_at": each.arrival.published_at.isoformat(),
                    "identity": each.identity.key,
                    "payload": each.payload.model_dump(mode="json"),
                }
            )
            # What is the same for ever says nothing new; what is the same within a window is said once more.
            if answer and guest_id and (original is None or each.identity.window is not None):
                others.append(answer)
                self._answers.append(Answer(guest_id, answer.response, answer.at, answer.plus_ones))
        self._write()
        return fates

    def _known(self) -> set[tuple[str, int, datetime]]:
        keys = [each.arrival.key for each in self._incoming]
        rows = self._connection.execute(
            sql(
                """
                SELECT n.stream, n.sequence, n.published_at
                FROM unnest(CAST(:streams AS text[]), CAST(:sequences AS bigint[]), CAST(:instants AS timestamptz[]))
                    AS a (stream, sequence, published_at)
                JOIN notifications n USING (stream, sequence, published_at)
                """
            ),
            {
                "streams": [stream for stream, _, _ in keys],
                "sequences": [sequence for _, sequence, _ in keys],
                "instants": [instant for _, _, instant in keys],
            },
        )
        return {(row.stream, row.sequence, row.published_at) for row in rows}

    def _events_here(self) -> set[UUID | None]:
        ids = {each.payload.event_id for each in self._incoming}
        rows = self._connection.execute(
            sql("SELECT id FROM events WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
        )
        return set(rows.scalars())

    def _events_of_guests(self) -> dict[UUID | None, UUID]:
        ids = {each.payload.guest_id for each in self._incoming}
        rows = self._connection.execute(
            sql("SELECT id, event_id FROM guests WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
        )
        return {row.id: row.event_id for row in rows}

    def _earlier(self) -> defaultdict[str, list[tuple[datetime, UUID]]]:
        """Notifications with these identities that were not duplicates themselves: when stored, and their ids."""
        earlier: defaultdict[str, list[tuple[datetime, UUID]]] = defaultdict(list)
        rows = self._connection.execute(
            sql(
                "SELECT identity, published_at, id FROM notifications "
                "WHERE type = :kind AND identity = ANY(CAST(:keys AS text[])) AND status <> 'duplicate' "
                "ORDER BY published_at"
            ),
            {"kind": self._kind, "keys": list({each.identity.key for each in self._incoming})},
        )
        for row in rows:
            earlier[row.identity].append((row.published_at, row.id))
        return earlier

    def _answers_of_guests(self) -> defaultdict[UUID | None, list[Answered]]:
        """What the guests have answered so far, where these events tell of answers.

        An event that was published again under its id says nothing new.
        """
        answers: defaultdict[UUID | None, list[Answered]] = defaultdict(list)
        telling = {type(each.payload) for each in self._incoming if each.payload.answered(each.arrival.published_at)}
        if not telling:
            return answers
        (payload_class,) = telling
        rows = self._connection.execute(
            sql(
                "SELECT guest_id, published_at, payload FROM notifications "
                "WHERE type = :kind AND guest_id = ANY(CAST(:guests AS uuid[])) "
                "AND NOT (status = 'duplicate' AND identity LIKE 'id:%')"
            ),
            {"kind": self._kind, "guests": list({each.payload.guest_id for each in self._incoming})},
        )
        for row in rows:
            if answer := payload_class.model_validate(row.payload).answered(row.published_at):
                answers[row.guest_id].append(answer)
        return answers

    def _write(self) -> None:
        if not self._new:
            return
        self._connection.execute(
            sql(
                """
                WITH new AS MATERIALIZED (
                    SELECT * FROM json_to_recordset(CAST(:new AS json)) AS n (id uuid, event_id uuid, guest_id uuid,
                        status text, reason text, duplicate_of uuid, stream text, sequence bigint,
                        published_at timestamptz, identity text, payload jsonb)
                ), written AS (
                    INSERT INTO notifications (id, type, event_id, guest_id, status, reason, duplicate_of,
                        stream, sequence, published_at, identity, payload)
                    SELECT id, :kind, event_id, guest_id, status, reason, duplicate_of,
                        stream, sequence, published_at, identity, payload
                    FROM new ORDER BY sequence
                ), chosen AS MATERIALIZED (
                    SELECT id, event_id, guest_id, (row_number() OVER (ORDER BY sequence) - 1) / :batch_size AS number
                    FROM new WHERE status = 'pending'
                ), formed AS (
                    INSERT INTO delivery_batches (queue_id, size)
                    SELECT :queue_id, count(*) FROM chosen GROUP BY number ORDER BY number
                    RETURNING id
                ), numbered AS (
                    SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM formed
                )
                INSERT INTO message_deliveries (notification_id, event_id, guest_id, channel, batch_id)
                SELECT chosen.id, event_id, guest_id, 'email', numbered.id
                FROM chosen JOIN numbered USING (number) ORDER BY numbered.id, chosen.id
                """
            ),
            {
                "new": json.dumps(self._new),
                "kind": self._kind,
                "queue_id": self._kind.queue_id,
                "batch_size": BATCH_SIZE,
            },
        )
        settle_what_had_left(self._connection, [each["id"] for each in self._new])
        record_answers(self._connection, self._answers)


_STATUS_OF = {
    Fate.RECORDED: NotificationStatus.PENDING,
    Fate.DUPLICATE: NotificationStatus.DUPLICATE,
    Fate.NOT_NEEDED: NotificationStatus.SKIPPED,
}


def _fate(original: UUID | None, not_needed: str | None) -> Fate:
    if original is not None:
        return Fate.DUPLICATE
    return Fate.RECORDED if not_needed is None else Fate.NOT_NEEDED


def _context(row: Sequence[Any]) -> NotificationContext:
    values = iter(row)

    def take(columns: Collection[Any]) -> dict[str, Any]:
        return {column.name: next(values) for column in columns}

    delivery_id, kind, payload, published_at = next(values), NotificationType(next(values)), next(values), next(values)
    event, host, guest = take(EVENT_COLUMNS), take(USER_COLUMNS), take(GUEST_COLUMNS)
    return NotificationContext(
        delivery_id=delivery_id,
        type=kind,
        payload=payload,
        published_at=published_at,
        event=Event(**event),
        host=User(**host),
        guest=Guest(**guest | {"rsvp_status": RsvpStatus(guest["rsvp_status"])}) if guest["id"] else None,
        read_at=next(values),
    )


def _notification(row: Row[Any]) -> Notification:
    return Notification(
        **row._asdict()
        | {
            "type": NotificationType(row.type),
            "channel": MessageChannel(row.channel),
            "status": NotificationStatus(row.status),
        }
    )
