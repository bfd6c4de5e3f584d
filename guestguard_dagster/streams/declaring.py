"""Making the stream and its consumers where they are missing, and telling where they differ from the declaration.

What exists is never changed from here: whoever set it up otherwise may have meant it, so the difference is reported.
"""

from typing import TYPE_CHECKING, Any

from guestguard_dagster.streams.declaration import (
    ConsumerDeclaration,
    LedgerDeclaration,
    StreamDeclaration,
    covers,
)

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo, StreamInfo
    from nats.js.client import JetStreamContext


async def ensure_stream(
    jetstream: "JetStreamContext", declaration: StreamDeclaration | LedgerDeclaration
) -> tuple["StreamInfo", list[str]]:
    """Make the stream if it is missing; returns how it stands, and in sentences how it differs from the declaration."""
    from nats.js.api import RetentionPolicy, StorageType, StreamConfig
    from nats.js.errors import NotFoundError

    try:
        info = await jetstream.stream_info(declaration.name)
    except NotFoundError:
        config = StreamConfig(
            name=declaration.name,
            description=declaration.description,
            subjects=declaration.subjects,
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            max_age=None if declaration.keep is None else declaration.keep.total_seconds(),
        )
        info = await jetstream.add_stream(config)
    return info, _stream_drift(info, declaration)


async def ensure_consumer(
    jetstream: "JetStreamContext", stream: str, declaration: ConsumerDeclaration
) -> tuple["ConsumerInfo", list[str]]:
    """Make the durable consumer if it is missing; returns how it stands, and how it differs from the declaration."""
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
    from nats.js.errors import NotFoundError

    try:
        info = await jetstream.consumer_info(stream, declaration.name)
    except NotFoundError:
        config = ConsumerConfig(
            durable_name=declaration.name,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=declaration.ack_wait.total_seconds(),
            max_deliver=declaration.max_deliver,
            filter_subject=declaration.subject,
            max_ack_pending=declaration.max_ack_pending,
        )
        info = await jetstream.add_consumer(stream, config)
    return info, _consumer_drift(info, declaration)


def _stream_drift(info: "StreamInfo", declaration: StreamDeclaration | LedgerDeclaration) -> list[str]:
    patterns = info.config.subjects or []
    missing = [subject for subject in declaration.subjects if not any(covers(pattern, subject) for pattern in patterns)]
    drift = [f"stream {declaration.name} does not take in {subject}: nothing of it arrives" for subject in missing]
    if info.config.storage == "memory":
        drift.append(f"stream {declaration.name} is kept in memory: events are lost when NATS restarts")
    kept = info.config.max_age
    if declaration.keep is not None and kept and kept < declaration.keep.total_seconds():
        drift.append(
            f"stream {declaration.name} keeps {kept / 86400:g} days where {declaration.keep.days} are declared"
        )
    return drift


def _consumer_drift(info: "ConsumerInfo", declaration: ConsumerDeclaration) -> list[str]:
    config = info.config
    compared: list[tuple[str, Any, Any]] = [
        ("filter_subject", config.filter_subject, declaration.subject),
        ("ack_policy", str(getattr(config.ack_policy, "value", config.ack_policy)), "explicit"),
        ("deliver_policy", str(getattr(config.deliver_policy, "value", config.deliver_policy)), "all"),
        ("deliver_subject", config.deliver_subject, None),
        ("ack_wait", config.ack_wait, declaration.ack_wait.total_seconds()),
        ("max_deliver", config.max_deliver, declaration.max_deliver),
        ("max_ack_pending", config.max_ack_pending, declaration.max_ack_pending),
    ]
    return [
        f"consumer {declaration.name} has {name} {found!r} where {wanted!r} is declared"
        for name, found, wanted in compared
        if found != wanted
    ]
