"""Callbacks: what a provider tells about a mail or text after it was handed off, and guests' STOP and START."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from guestguard_dagster.domain.deliveries import DeliveryNews, DeliveryStatus


class Provider(StrEnum):
    """The providers that call back."""

    RESEND = "resend"
    SES = "ses"
    TWILIO = "twilio"


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
class CallbackNews:
    """What one callback says. `news` is None for what changes no delivery (an opened mail, a delay).

    A callback names its delivery by our own id where the provider carries it, and by the provider's id.
    `suppress` is why the `addresses` are not to be written to any more.
    """

    news: DeliveryNews | None = None
    delivery_id: int | None = None
    provider_message_id: str | None = None
    suppress: str | None = None
    addresses: tuple[str, ...] = field(default=(), repr=False)
    keyword: OptKeyword | None = None


def counts_for(news: DeliveryNews, *, of_earlier_round: bool) -> bool:
    """Whether news moves its delivery. What failed in an earlier round has been tried again since; a mail that arrived
    then has arrived."""
    return not of_earlier_round or news.status in (DeliveryStatus.DELIVERED, DeliveryStatus.COMPLAINED)
