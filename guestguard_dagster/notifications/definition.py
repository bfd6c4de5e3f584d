"""What a type of notification is: the facts and functions that its module in `notifications.types` fills in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar
from uuid import UUID

import click

from guestguard_dagster.domain.deliveries import SkipReason
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.domain.payloads import Payload
from guestguard_dagster.notifications.letters import Letter, MailKit
from guestguard_dagster.notifications.rules import Rules
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.notifications.repo import NotificationContext
from guestguard_dagster.streams.declaration import ConsumerDeclaration

P = TypeVar("P", bound=Payload)
PayloadClass: TypeAlias = type[P]


class Recipient(StrEnum):
    """Who gets the mail, and at which address."""

    GUEST = "guest"  # the address on the guest list
    INVITED_GUEST = "invited_guest"  # the address in the payload, which names it `guest_email`
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Party:
    """The guest and event that a sample is about."""

    event_id: UUID
    event_name: str
    venue: str
    starts_at: datetime
    host_name: str
    guest_id: UUID
    guest_name: str
    guest_email: str | None

    @property
    def ids(self) -> dict[str, object]:
        """As payloads name the two."""
        return {"guest_id": str(self.guest_id), "event_id": str(self.event_id)}


@dataclass(frozen=True, kw_only=True)
class NotificationDefinition(Generic[P]):
    """One type. `type` and `job` are in rows and in the history of installations: they never change."""

    type: NotificationType
    # what people read
    label: str
    # what is published, e.g. "rsvp.confirmed": subject, consumer and command of `guestguard publish` are named after it
    event: str
    # one sentence on what happened and who gets which mail
    summary: str
    job: str
    job_description: str
    payload: PayloadClass[P]
    recipient: Recipient
    compose: Callable[[P, NotificationContext, RecipientFacts, MailKit], Letter]
    # a payload as the Go services write it, for `guestguard publish` and the demo
    sample: Callable[[Party], dict[str, object]]
    # the fields of the sample that `guestguard publish` can set
    publish_options: tuple[click.Option, ...] = ()
    # whether a guest who unsubscribed from the host's mail gets none of these
    follows_unsubscribe: bool = False
    # why no mail is made of an event, kept as the row's reason; None where one is
    why_not_needed: Callable[[P, Rules], str | None] = lambda *_: None
    # what operators read in the log of an event that is answered, without names and addresses; None for nothing
    warning: Callable[[P], str | None] = lambda _: None
    # what keeps the mail back besides a cancelled event and a removed guest, at the time of the hand-off
    why_skipped: Callable[[NotificationContext], SkipReason | None] = lambda _: None
    # subject and consumer where the settings name them
    given_names: Callable[[Settings], tuple[str | None, str | None]] = lambda _: (None, None)

    @property
    def command(self) -> str:
        """The event as it is written in commands and in the consumer's name."""
        return self.event.replace(".", "-").replace("_", "-")

    @property
    def needs_guest(self) -> bool:
        """Whether an event waits until its guest is known; a host is written to without."""
        return self.recipient is not Recipient.HOST

    def consumer(self, settings: Settings) -> ConsumerDeclaration:
        """The durable consumer, and the subject that it takes."""
        subject, consumer = self.given_names(settings)
        return ConsumerDeclaration(
            consumer or f"notifier-{self.command}", subject or f"{settings.nats_subject_prefix}.{self.event}"
        )

    def address(self, payload: P, context: NotificationContext) -> str:
        """Where the mail goes now; empty where there is no address."""
        match self.recipient:
            case Recipient.HOST:
                return context.host.email
            case Recipient.GUEST:
                return (context.guest.email if context.guest else None) or ""
            case Recipient.INVITED_GUEST:
                return payload.given_address()

    def reason_to_skip(self, context: NotificationContext) -> SkipReason | None:
        """A host is warned in any case; guests are written to while the event is on and they are on its list."""
        if self.recipient is Recipient.HOST:
            return None
        if context.event.cancelled_at is not None:
            return SkipReason.EVENT_CANCELLED
        if context.guest is None or context.guest.removed_at is not None:
            return SkipReason.GUEST_REMOVED
        return self.why_skipped(context)
