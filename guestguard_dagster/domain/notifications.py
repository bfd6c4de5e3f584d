"""Notifications: mails that answer to something that happened, and the events on NATS that they come from.

What makes two events the same is decided here too.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID, uuid5

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.payloads import Identity

_QUEUES = UUID("6d0ac6b4-6f5c-4c0e-9a0c-64b0ad3d9d5e")
_NOTIFICATIONS = UUID("7d3f0f8e-5a0c-4b7e-9a51-3d9c1f2f6b10")


class NotificationType(str):
    """The name of a type, as rows have it; `notifications.registry` lists those that there are."""

    __slots__ = ()

    @property
    def queue_id(self) -> UUID:
        """The queue of all notifications of this type."""
        return uuid5(_QUEUES, self)


class NotificationStatus(StrEnum):
    """How a notification stands: as its delivery does, or `duplicate` and `skipped` for those that never had one."""

    PENDING = DeliveryStatus.PENDING.value
    SENDING = DeliveryStatus.SENDING.value
    SENT = DeliveryStatus.SENT.value
    DELIVERED = DeliveryStatus.DELIVERED.value
    BOUNCED = DeliveryStatus.BOUNCED.value
    COMPLAINED = DeliveryStatus.COMPLAINED.value
    FAILED = DeliveryStatus.FAILED.value
    SUPPRESSED = DeliveryStatus.SUPPRESSED.value
    SKIPPED = DeliveryStatus.SKIPPED.value
    UNKNOWN = DeliveryStatus.UNKNOWN.value
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event as the stream delivered it. `published_at` is the instant at which JetStream stored it (UTC).

    `deliveries` counts this delivery too. `data` may hold names and addresses: it never reaches a log.
    """

    stream: str
    subject: str
    sequence: int
    published_at: datetime
    deliveries: int
    message_id: str | None
    data: bytes = field(repr=False)

    @property
    def key(self) -> tuple[str, int, datetime]:
        """Redeliveries share it. The instant tells a stream from one that was deleted and made anew."""
        return self.stream, self.sequence, self.published_at

    @property
    def notification_id(self) -> UUID:
        """The same whenever the event is written down again, also by a database that was restored."""
        return uuid5(_NOTIFICATIONS, f"{self.stream}\n{self.sequence}\n{self.published_at.astimezone(UTC).isoformat()}")


def original_of(
    identity: Identity,
    published_at: datetime,
    earlier: Iterable[tuple[datetime, UUID]],
    *,
    changes: Collection[datetime] = (),
) -> UUID | None:
    """Which of the notifications with this identity's key (when their events were stored, and their ids) is the same
    event as one stored at `published_at`; None if it is a new one.

    A window does not reach over `changes`: a guest who says yes, no and yes again has answered three times.
    """
    for stored_at, id in earlier:
        first, last = sorted((stored_at, published_at))
        is_repeat = identity.window is None or not any(first < change < last for change in changes)
        if is_repeat and identity.is_shared_by(published_at, stored_at):
            return id
    return None
