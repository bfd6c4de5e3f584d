"""Callbacks: what a provider tells about a mail or text after it was handed off, and guests' STOP and START."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from guestguard_dagster.domain.deliveries import HANDED_OFF_STATUSES, DeliveryReport, DeliveryStatus

# Resend and SES take ASCII letters, digits, underscores and dashes in tags.
_DELIVERY_TAG, _INSTALLATION_TAG = "delivery_id", "installation_id"
_ID_DIGITS = 19  # a number of so many may be beyond a bigint

# The answer to the hand-off of the present round is not known, or not yet.
_AWAITING_ANSWER = frozenset({DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN})


class ProviderEvent(StrEnum):
    """What is put on NATS about callbacks: that one was stored."""

    CALLBACK_STORED = "callback_stored"


@dataclass(frozen=True, slots=True)
class OptKeyword:
    """A guest wrote STOP or START to one of our numbers (both in E.164)."""

    from_phone: str = field(repr=False)
    to_phone: str = field(repr=False)
    stops: bool

    @property
    def thread(self) -> str:
        """What these two say to each other: the newest word counts. A digest, as it outlives the payload."""
        return hashlib.sha256(f"{self.from_phone}>{self.to_phone}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CallbackContent:
    """What one callback says. `update` is None for what changes no delivery (an opened mail, a delay).

    A callback names its delivery by the tags that we gave the hand-off, where the provider brings them back, and by the
    provider's own id. `suppress` is why the `addresses` are not to be written to any more.
    """

    update: DeliveryReport | None = None
    delivery_id: int | None = None
    installation: str | None = None
    provider_message_id: str | None = None
    suppress: str | None = None
    addresses: tuple[str, ...] = field(default=(), repr=False)
    keyword: OptKeyword | None = None


@dataclass(frozen=True, slots=True)
class CalledDelivery:
    """A delivery that a callback names.

    `attempted_rounds` are the rounds of its recorded hand-offs, `rounds_by_message_id` those of which the provider's id
    is known.
    """

    delivery_id: int
    message_id: UUID | None
    status: DeliveryStatus
    round: int
    attempted_rounds: frozenset[int]
    rounds_by_message_id: Mapping[str, int]

    def round_of(self, callback: CallbackContent) -> int | None:
        """The round of the hand-off that this callback is about; None when it is about none of this delivery's.

        The callback is this installation's, or carries no installation: then nothing but the provider's id proves it.
        """
        known = self.rounds_by_message_id.get(callback.provider_message_id or "")
        if known is not None or callback.installation is None:
            return known
        if self.status in _AWAITING_ANSWER:
            return self.round
        if self.rounds_by_message_id:
            return None
        if self.status in HANDED_OFF_STATUSES:
            return self.round
        return max(self.attempted_rounds, default=None)


def tags_of(delivery_id: int, installation: str) -> dict[str, str]:
    """What every hand-off carries, so that its callbacks bring it back."""
    return {_DELIVERY_TAG: str(delivery_id), _INSTALLATION_TAG: installation}


def read_tags(tags: Mapping[str, object]) -> tuple[int | None, str | None]:
    """The delivery's id and the installation of these tags; None for what is missing or no such thing."""
    value, installation = tags.get(_DELIVERY_TAG), tags.get(_INSTALLATION_TAG)
    is_id = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _ID_DIGITS
    return int(str(value)) if is_id else None, installation or None if isinstance(installation, str) else None


def counts_for(update: DeliveryReport, *, of_earlier_round: bool) -> bool:
    """Whether an update moves its delivery. What failed in an earlier round has been tried again since; a mail that
    arrived then has arrived."""
    return not of_earlier_round or update.status in (DeliveryStatus.DELIVERED, DeliveryStatus.COMPLAINED)
