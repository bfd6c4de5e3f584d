"""Rows into the domain's dataclasses, and the columns that each of them needs."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Column, Row, Table

from guestguard_dagster.domain.events import Event, Guest, RsvpStatus, User
from guestguard_dagster.domain.messages import (
    HoldOwner,
    Message,
    MessageAudience,
    MessageChannel,
    MessageKind,
    MessageStatus,
    MessageTimes,
)
from guestguard_dagster.domain.suppressions import Suppression
from guestguard_dagster.storage.tables.messages import scheduled_messages
from guestguard_dagster.storage.tables.people import events, guests, suppressions, users


def columns_of(table: Table, kind: type[Any]) -> list[Column[Any]]:
    """The table's columns under the names of the dataclass's fields."""
    return [table.c[field.name] for field in fields(kind)]


USER_COLUMNS = columns_of(users, User)
EVENT_COLUMNS = columns_of(events, Event)
GUEST_COLUMNS = columns_of(guests, Guest)
MESSAGE_COLUMNS = columns_of(scheduled_messages, Message)
TIMES_COLUMNS = columns_of(scheduled_messages, MessageTimes)
SUPPRESSION_COLUMNS = columns_of(suppressions, Suppression)


def user_from(row: Row[Any]) -> User:
    return User(**row._asdict())


def event_from(row: Row[Any]) -> Event:
    return Event(**row._asdict())


def guest_from(row: Row[Any]) -> Guest:
    return Guest(**row._asdict() | {"rsvp_status": RsvpStatus(row.rsvp_status)})


def message_from(row: Row[Any]) -> Message:
    return message_of(row._asdict())


def message_of(values: Mapping[str, Any]) -> Message:
    return Message(
        **{
            **values,
            "kind": MessageKind(values["kind"]),
            "channel": MessageChannel(values["channel"]),
            "audience": MessageAudience(values["audience"]),
            "status": MessageStatus(values["status"]),
            "held_by": HoldOwner(values["held_by"]) if values["held_by"] else None,
        }
    )


def times_from(values: Sequence[Any]) -> MessageTimes:
    """From the values of TIMES_COLUMNS in their order: thousands are read at once, and by name each takes longer."""
    id, event_id, kind, channel, status, *others = values
    return MessageTimes(id, event_id, MessageKind(kind), MessageChannel(channel), MessageStatus(status), *others)


def suppression_from(row: Row[Any]) -> Suppression:
    return Suppression(**row._asdict() | {"channel": MessageChannel(row.channel)})
