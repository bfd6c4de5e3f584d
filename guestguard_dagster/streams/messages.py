"""What is stored in a stream, and what it delivers and how that is told apart: sequence, instant, deliveries."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from guestguard_dagster.domain.notifications import Arrival

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js.api import RawStreamMsg
    from nats.js.client import JetStreamContext

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MESSAGE_ID = "Nats-Msg-Id"
_TOKENS_WITHOUT_DOMAIN = 9
_BEFORE_STREAM = 2
_LONGEST_MESSAGE_ID = 500


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """One delivery; `reply` is where its acknowledgement goes.

    After `most_deliveries` the consumer gives an event up by itself, without a word; None where it never does.
    """

    arrival: Arrival
    reply: str
    most_deliveries: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """Where the stream keeps an event; `duplicate` when it had one with this id already."""

    stream: str
    sequence: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a consumer has left: `pending` events never delivered yet, `unacked` ones delivered and not settled."""

    pending: int
    unacked: int


async def publish_all(
    jetstream: "JetStreamContext", events: Iterable[tuple[str, bytes, str | None]]
) -> list[Published]:
    """Store events, each (subject, data, message id), in this order, without waiting for each before the next."""
    acks = [
        await jetstream.publish_async(subject, data, headers={_MESSAGE_ID: message_id} if message_id else None)
        for subject, data, message_id in events
    ]
    return [Published(ack.stream, ack.seq, bool(ack.duplicate)) for ack in await asyncio.gather(*acks)]


def delivered(message: "Msg", *, most_deliveries: int | None = None) -> StreamMessage:
    """The reply subject of a delivery is its metadata.

    `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<nanoseconds>.<pending>`, or with
    domain and account before the stream and a random token at the end.
    """
    tokens = message.reply.split(".")
    start = _BEFORE_STREAM if len(tokens) == _TOKENS_WITHOUT_DOMAIN else _BEFORE_STREAM + 2
    stream, _, deliveries, sequence, _, nanoseconds = tokens[start : start + 6]
    arrival = Arrival(
        stream=stream,
        subject=message.subject,
        sequence=int(sequence),
        published_at=_EPOCH + timedelta(microseconds=int(nanoseconds) // 1000),
        deliveries=int(deliveries),
        message_id=_message_id(message.headers),
        data=message.data,
    )
    return StreamMessage(arrival, message.reply, most_deliveries)


def stored(stream: str, message: "RawStreamMsg") -> Arrival:
    """An event as it lies in the stream, read outside of any consumer."""
    if message.time is None or message.seq is None:
        raise ValueError(f"stream {stream} gave an event without its sequence or instant")
    return Arrival(
        stream=stream,
        subject=message.subject or "",
        sequence=message.seq,
        published_at=message.time,
        deliveries=1,
        message_id=_message_id(message.headers),
        data=message.data or b"",
    )


def _message_id(headers: Mapping[str, str] | None) -> str | None:
    """The publisher's own name for the event. What is not fit for a database column cannot be one."""
    value = (headers or {}).get(_MESSAGE_ID, "").strip()
    return value if value.isprintable() and 0 < len(value) <= _LONGEST_MESSAGE_ID else None
