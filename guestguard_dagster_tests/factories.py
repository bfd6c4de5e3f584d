"""Rows that tests start from, written straight into the tables: any state, also one that the product would refuse.

Every factory fills what a test does not care about; `**columns` sets any other column of the row.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, select, update

from guestguard_dagster.domain.deliveries import UNSETTLED_STATUSES, BatchState, DeliveryStatus
from guestguard_dagster.domain.events import CollaboratorRole, Event, Guest, RsvpStatus, User
from guestguard_dagster.domain.messages import Message, MessageAudience, MessageChannel, MessageKind, MessageStatus
from guestguard_dagster.domain.notifications import NotificationStatus, NotificationType
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.rows import (
    EVENT_COLUMNS,
    GUEST_COLUMNS,
    MESSAGE_COLUMNS,
    USER_COLUMNS,
    event_from,
    guest_from,
    message_from,
    user_from,
)
from guestguard_dagster.storage.tables.deliveries import delivery_batches, message_deliveries
from guestguard_dagster.storage.tables.messages import scheduled_messages
from guestguard_dagster.storage.tables.notifications import notifications
from guestguard_dagster.storage.tables.people import event_collaborators, events, guests, users


def make_user(database: Database, *, name: str = "Hanna Host", email: str | None = None) -> User:
    """A user; the email is unique unless given."""
    values = {"name": name, "email": email or f"host-{uuid4().hex[:12]}@example.com"}
    with database.transaction() as connection:
        return user_from(connection.execute(insert(users).values(values).returning(*USER_COLUMNS)).one())


def make_event(
    database: Database,
    *,
    owner: User | None = None,
    name: str = "Garden Party",
    starts_at: datetime | None = None,
    starts_in: timedelta = timedelta(days=10),
    timezone: str = "Europe/Berlin",
    **columns: Any,
) -> Event:
    """An event with its owner, without reminders or quiet hours; `starts_in` counts from the database's clock."""
    owner = owner or make_user(database)
    values = {
        "name": name,
        "venue": "Rose Garden, Main Street 1",
        "starts_at": starts_at or database.now() + starts_in,
        "timezone": timezone,
        "sms_quiet_from": None,
        "sms_quiet_until": None,
    } | columns
    with database.transaction() as connection:
        event = event_from(connection.execute(insert(events).values(values).returning(*EVENT_COLUMNS)).one())
        connection.execute(
            insert(event_collaborators).values(event_id=event.id, user_id=owner.id, role=CollaboratorRole.OWNER)
        )
    return event


def make_guests(
    database: Database,
    event: Event,
    count: int = 1,
    *,
    rsvp_status: RsvpStatus = RsvpStatus.ATTENDING,
    **columns: Any,
) -> list[Guest]:
    """Guests of the event, each with an email address of its own and no phone, in the order of their numbers."""
    batch = uuid4().hex[:12]
    rows = [
        {
            "id": uuid4(),
            "event_id": event.id,
            "name": f"Guest {number}",
            "email": f"guest-{number}-{batch}@example.com",
            "phone": None,
            "rsvp_status": rsvp_status,
            "rsvp_token": uuid4().hex,
        }
        | columns
        for number in range(1, count + 1)
    ]
    if not rows:
        return []
    statement = insert(guests).returning(*GUEST_COLUMNS)
    with database.transaction() as connection:
        written = {row.id: guest_from(row) for row in connection.execute(statement, rows)}
    return [written[row["id"]] for row in rows]


def make_message(
    database: Database,
    event: Event,
    *,
    status: MessageStatus = MessageStatus.SCHEDULED,
    send_at: datetime | None = None,
    send_in: timedelta = timedelta(seconds=-1),
    audience: MessageAudience = MessageAudience.EVERYONE,
    channel: MessageChannel = MessageChannel.EMAIL,
    kind: MessageKind = MessageKind.BROADCAST,
    **columns: Any,
) -> Message:
    """A message, due one second ago unless told otherwise; `send_in` counts from the database's clock."""
    values = {
        "event_id": event.id,
        "kind": kind,
        "channel": channel,
        "audience": audience,
        "subject": "About {{event_name}}",
        "body": "Hi {{guest_name}},\n\nsee you at {{venue}}.\n\n{{rsvp_link}}\n",
        "status": status,
        "send_at": send_at or database.now() + send_in,
    } | columns
    with database.transaction() as connection:
        row = connection.execute(insert(scheduled_messages).values(values).returning(*MESSAGE_COLUMNS)).one()
    return message_from(row)


def make_deliveries(
    database: Database,
    message: Message,
    recipients: Sequence[Guest],
    *,
    status: DeliveryStatus = DeliveryStatus.PENDING,
    **columns: Any,
) -> list[int]:
    """One delivery row per guest, as the frozen audience; returns their ids in the order of the guests.

    Those that are open have a batch of their own: free, or for `sending` one whose process died.
    """
    if not recipients:
        return []
    if status in UNSETTLED_STATUSES and "batch_id" not in columns:
        state = BatchState.SENDING if status is DeliveryStatus.SENDING else BatchState.PENDING
        lease = {"lease_expires_at": columns.pop("lease_expires_at")} if "lease_expires_at" in columns else {}
        columns["batch_id"] = make_batch(database, message, state=state, size=len(recipients), **lease)
    rows = [
        {
            "message_id": message.id,
            "event_id": message.event_id,
            "guest_id": guest.id,
            "channel": message.channel,
            "status": DeliveryStatus.PENDING if status in UNSETTLED_STATUSES else status,
        }
        | columns
        for guest in recipients
    ]
    statement = insert(message_deliveries).returning(message_deliveries.c.id, sort_by_parameter_order=True)
    with database.transaction() as connection:
        return list(connection.execute(statement, rows).scalars())


def make_batch(
    database: Database, message: Message, *, state: BatchState = BatchState.PENDING, size: int = 0, **columns: Any
) -> int:
    """A batch of the message without members; one that is `sending` left over SMTP, and its lease has run out."""
    values: dict[str, Any] = {"queue_id": message.id, "message_id": message.id, "state": state, "size": size}
    if state is BatchState.SENDING:
        now = database.now()
        values |= {"provider": "smtp", "account": "smtp:mail.example.com", "handed_off_at": now}
        values |= {"lease_token": uuid4(), "lease_expires_at": now}
    with database.transaction() as connection:
        statement = insert(delivery_batches).values(values | columns).returning(delivery_batches.c.id)
        batch_id: int = connection.execute(statement).scalar_one()
        return batch_id


def make_notification(
    database: Database, kind: NotificationType, event_id: UUID, guest_id: UUID | None, **columns: Any
) -> UUID:
    """A notification as its event leaves it, without a delivery; its stream is its own."""
    stream = f"tests-{uuid4().hex[:12]}"
    values = {
        "type": kind,
        "event_id": event_id,
        "guest_id": guest_id,
        "status": NotificationStatus.PENDING,
        "stream": stream,
        "sequence": 1,
        "published_at": database.now(),
        "identity": stream,
        "payload": {},
    } | columns
    with database.transaction() as connection:
        statement = insert(notifications).values(values).returning(notifications.c.id)
        notification_id: UUID = connection.execute(statement).scalar_one()
        return notification_id


def read_message(database: Database, message_id: UUID) -> Message:
    """The message as its row is now."""
    query = select(*MESSAGE_COLUMNS).where(scheduled_messages.c.id == message_id)
    with database.transaction() as connection:
        return message_from(connection.execute(query).one())


def set_columns(database: Database, row: Event | Guest | Message | int, **columns: Any) -> None:
    """Write columns of one row: an event, a guest, a message, or a delivery by its id."""
    table, key = (message_deliveries, row) if isinstance(row, int) else (_TABLES[type(row)], row.id)
    with database.transaction() as connection:
        connection.execute(update(table).where(table.c.id == key).values(columns))


_TABLES = {Event: events, Guest: guests, Message: scheduled_messages}
