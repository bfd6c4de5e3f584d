"""What every sender is: the same three steps for email and SMS, whatever the provider.

`prepare` fixes what will leave (pure, no I/O), the engine commits that it is about to leave, `hand_off` lets it leave.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeVar
from uuid import UUID, uuid4

from guestguard_dagster.domain.outcomes import Outcome

# Raises LeaseLost when the process may no longer hand off. Called before every request and every (re)connect; over SMTP
# before the commands and before the content of every mail.
Permit = Callable[[], None]


class SignatureInvalid(Exception):
    """The callback was not signed by its provider, or is a replay; the text quotes nothing of it."""


class LeaseLost(Exception):
    """The lease on these deliveries could have run out: whatever has not left yet must not leave from here."""


class TimeIsUp(LeaseLost):
    """The lease holds, but the hand-off has lasted for long enough: nothing more is begun, what was begun may leave."""


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """One email, ready to leave. The sender adds its own From address and the Message-ID's domain.

    `from_name` is the display name, e.g. "Ada via GuestGuard". `unsubscribe_url` is the signed one-click link
    (RFC 8058), or None for confirmations. `installation` is our own id, which callbacks about this mail bring back.
    """

    delivery_id: int
    round: int
    to_email: str
    to_name: str
    from_name: str
    reply_to: str | None
    subject: str
    text: str
    html: str
    installation: str
    unsubscribe_url: str | None = None
    attachments: tuple[Attachment, ...] = ()

    @property
    def address(self) -> str:
        return self.to_email

    @property
    def message_id_local_part(self) -> str:
        """The same for every hand-off of this delivery and round, so that a doubled mail can be recognised."""
        return f"delivery-{self.delivery_id}-{self.round}.{self.installation[:8]}"


@dataclass(frozen=True, slots=True)
class Text:
    """One SMS, ready to leave. `to_phone` is E.164; after `valid_until` the provider should no longer try.

    `installation` is our own id, which callbacks about this text bring back.
    """

    delivery_id: int
    round: int
    to_phone: str
    body: str
    installation: str
    valid_until: datetime | None = None

    @property
    def address(self) -> str:
        return self.to_phone


@dataclass(frozen=True, slots=True)
class HandOff:
    """A fixed request: what leaves, and for whom. Repeating it means the very same bytes under the same key.

    `members` are delivery ids in the order of `hand_off`'s outcomes. `body` is the request as sent, or None where the
    provider cannot recognise a repeat (SMTP, SES, Twilio). `payload` is the sender's own prepared form.
    """

    members: tuple[int, ...]
    endpoint: str
    body: bytes | None
    payload: object = None
    key: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What the provider's account takes: `per_second` requests or recipients."""

    per_second: float
    unit: Literal["request", "recipient"]


Item = TypeVar("Item", contravariant=True)


class Sender(Protocol[Item]):
    """One provider account. Thread-safe; keeps its connections until `close`.

    `account` names the account without any secret, e.g. `smtp:mail.example.com:587:postmaster` or
    `resend:<first hex digits of the key's SHA-256>`: breakers, rate limits and repeats belong to it.
    `batch_size` is how many items are best handed off together. `repeatable` says that handing off the same HandOff
    again within 23 hours cannot double a mail. `overlaps` says that a hand-off is one call and a wait, during which the
    next batch is better prepared than not.
    """

    @property
    def provider(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def repeatable(self) -> bool: ...
    @property
    def overlaps(self) -> bool: ...
    @property
    def rate_limit(self) -> RateLimit | None: ...

    def prepare(self, items: Sequence[Item]) -> list[HandOff]:
        """Fix the requests that carry these items: one for all of them, but where requests of a provider have a size.

        No I/O.
        """
        ...

    def hand_off(self, request: HandOff, permit: Permit) -> list[Outcome | None]:
        """Let the request leave; one outcome per member, None for a member that certainly never left.

        Never raises for what a provider or the network does: that is an Outcome. When `permit` raises LeaseLost,
        members that are not under way are None. So are they behind an UNAVAILABLE, which at least one member carries
        where no session could be had or the server takes no more for now.
        """
        ...

    def close(self) -> None: ...
