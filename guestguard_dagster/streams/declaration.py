"""How streams and their durable consumers are declared: what is missing is made so."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from guestguard_dagster.domain.callbacks import ProviderEvent
from guestguard_dagster.settings import Settings

# Longer than a fetched group takes to be written down; what a dead process had is redelivered after it.
ACK_WAIT = timedelta(seconds=30)
UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class ConsumerDeclaration:
    """A durable pull consumer: explicit acks, everything from the stream's start, deliveries without limit."""

    name: str
    subject: str
    ack_wait: timedelta = ACK_WAIT
    max_deliver: int = UNLIMITED
    # Many events may wait for their guests to become known; they must not keep the others from being delivered.
    max_ack_pending: int = UNLIMITED


@dataclass(frozen=True, slots=True)
class StreamDeclaration:
    """A stream, kept in files, and one consumer for each type of event in it."""

    name: str
    consumers: Mapping[str, ConsumerDeclaration]
    description: str = "GuestGuard: what happened, and is to be answered by mail"
    # What is older is deleted; None: nothing is.
    keep: timedelta | None = None

    @classmethod
    def of_callbacks(cls, settings: Settings) -> "StreamDeclaration":
        """A stream of its own: what our web room tells our jobs, nobody else publishes."""
        consumer = ConsumerDeclaration(
            settings.nats_consumer_provider_callback, settings.nats_subject_provider_callback
        )
        return cls(f"{settings.nats_stream}_CALLBACKS", {ProviderEvent.CALLBACK_STORED: consumer})

    @property
    def subjects(self) -> list[str]:
        return [consumer.subject for consumer in self.consumers.values()]


@dataclass(frozen=True, slots=True)
class LedgerDeclaration:
    """The ledger's stream, kept in files: nobody consumes it, a check and a replay read it."""

    name: str
    subject: str
    keep: timedelta
    description: str = "GuestGuard: what left, for a database that is restored"

    @classmethod
    def from_settings(cls, settings: Settings) -> "LedgerDeclaration":
        return cls(
            settings.nats_ledger_stream or f"{settings.nats_stream}_LEDGER",
            settings.nats_subject_ledger,
            timedelta(days=settings.keep_ledger_days),
        )

    @property
    def subjects(self) -> list[str]:
        return [f"{self.subject}.>"]


def covers(pattern: str, subject: str) -> bool:
    """Whether a stream's subject, which may have wildcards, takes in `subject`."""
    wanted = subject.split(".")
    given = pattern.split(".")
    for position, part in enumerate(given):
        if part == ">":
            return len(wanted) > position
        if position >= len(wanted) or part not in ("*", wanted[position]):
            return False
    return len(wanted) == len(given)
