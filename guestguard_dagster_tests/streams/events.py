"""Events as the Go services publish them, and streams of a test's own on the shared NATS server."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from guestguard_dagster.domain.events import Event, Guest
from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.settings import Settings
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.jetstream import JetStream

GO_ZERO_TIME = "0001-01-01T00:00:00Z"


def stream_settings(**more: object) -> dict[str, Any]:
    """Names that no other test uses."""
    own = uuid4().hex[:12]
    return {
        "nats_stream": f"STREAM_{own}",
        "nats_subject_prefix": own,
        "nats_subject_ledger": f"{own}.ledger",
        **more,
    }


def declare(**more: object) -> StreamDeclaration:
    return declare_stream(Settings.model_validate(stream_settings(**more)))


def connect(url: str, declaration: StreamDeclaration) -> JetStream:
    return JetStream(NatsAccess((url,)), declaration)


def impatient(declaration: StreamDeclaration) -> StreamDeclaration:
    """The same, but what is not acknowledged comes again soon."""
    consumers = {
        kind: replace(consumer, ack_wait=timedelta(milliseconds=500))
        for kind, consumer in declaration.consumers.items()
    }
    return replace(declaration, consumers=consumers)


def rsvp_confirmed(guest: Guest | UUID, event: Event | UUID, **fields: object) -> bytes:
    """An answer, given now unless told otherwise."""
    return _json(
        {
            "rsvp_id": str(uuid4()),
            "guest_id": _id(guest),
            "event_id": _id(event),
            "response": "attending",
            "plus_ones": 0,
            "risk_score": 12.5,
            "submitted_at": go_time(datetime.now(UTC)),
        },
        fields,
    )


def fraud_scored(guest: Guest | UUID | None, event: Event | UUID, **fields: object) -> bytes:
    return _json(
        {
            "guest_id": _id(guest) if guest else "",
            "event_id": _id(event),
            "score": 87,
            "risk": "high",
            "reasons": ["new_device"],
        },
        fields,
    )


def invitation_send(guest: Guest, event: Event, **fields: object) -> bytes:
    return _json(
        {
            "guest_id": _id(guest),
            "event_id": _id(event),
            "guest_email": guest.email,
            "guest_name": guest.name,
            "host_name": "Hanna Host",
            "event_name": event.name,
            "venue": event.venue,
            "event_date": go_time(event.starts_at),
            "link": "https://rsvp.example.com/i/secret",
        },
        fields,
    )


def go_time(moment: datetime) -> str:
    """RFC 3339 with nanoseconds, as Go writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"


def _id(thing: Event | Guest | UUID) -> str:
    return str(thing if isinstance(thing, UUID) else thing.id)


def _json(usual: dict[str, object], fields: dict[str, object]) -> bytes:
    return json.dumps(usual | fields).encode()
