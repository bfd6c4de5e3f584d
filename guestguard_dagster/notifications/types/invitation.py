"""Invitation: a host invites a guest, who gets a mail with the link. Hosts may deliver invitations themselves, too."""

from dataclasses import dataclass, replace
from datetime import MAXYEAR, timedelta
from typing import Annotated, Final, Self

import click
from pydantic import AfterValidator, BeforeValidator, Field

from guestguard_dagster.domain.deliveries import SkipReason
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.domain.payloads import (
    GoTime,
    Identity,
    Payload,
    PayloadRefused,
    go_time,
    kept_email,
    one_line,
    web_address,
)
from guestguard_dagster.domain.plain_text import EVENT_NAME_LIMIT, GUEST_NAME_LIMIT, VENUE_LIMIT
from guestguard_dagster.notifications.definition import NotificationDefinition, Party, Recipient
from guestguard_dagster.notifications.letters import Letter, MailKit
from guestguard_dagster.notifications.rules import Rules
from guestguard_dagster.rendering.dates import format_date, format_zone
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.mail import RenderedMail
from guestguard_dagster.rendering.notices import greeted, notice
from guestguard_dagster.rendering.shell import Branding, Shell, on_the_guest_list
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.notifications.repo import NotificationContext

HOST_MANAGED: Final = "host_managed"
_LONGEST_ADDRESS = 320


class InvitationSend(Payload):
    """A host invites a guest. Without `guest_email` the host delivers the invitation by other means."""

    guest_email: Annotated[str, one_line(_LONGEST_ADDRESS), AfterValidator(kept_email)] = Field(default="", repr=False)
    guest_name: Annotated[str, one_line(GUEST_NAME_LIMIT)] = ""
    host_name: Annotated[str, one_line(GUEST_NAME_LIMIT)] = ""
    event_name: Annotated[str, one_line(EVENT_NAME_LIMIT)] = ""
    venue: Annotated[str, one_line(VENUE_LIMIT)] = ""
    event_date: GoTime = None
    link: Annotated[str | None, BeforeValidator(web_address)] = Field(default=None, repr=False)

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Raises PayloadRefused also for what no mail could be made of."""
        payload = super().read(data)
        if payload.guest_email and not (payload.guest_id and payload.event_id):
            raise PayloadRefused("guest_id, event_id: needed to write to a guest")
        if payload.event_date and payload.event_date.year == MAXYEAR:
            raise PayloadRefused("event_date: lies at the end of the calendar; leave it out where there is none")
        return payload

    def given_address(self) -> str:
        return self.guest_email

    def identity(self, message_id: str | None) -> Identity:
        """A host may send an invitation again, ten minutes later."""
        if message_id:
            return Identity(f"id:{message_id}", None)
        return Identity(f"payload:{self.digest()}", timedelta(minutes=10))


@dataclass(frozen=True, slots=True)
class InvitationMail:
    """An invitation by its host. What the payload leaves empty comes from the event, but for the date."""

    _facts: EventFacts
    _branding: Branding
    _shell: Shell

    @classmethod
    def compile(cls, event: Event, payload: InvitationSend, *, host_name: str) -> "InvitationMail":
        ours = EventFacts.of(event, host_name=payload.host_name or host_name)
        date = format_date(payload.event_date, event.zone) if payload.event_date else ""
        facts = replace(
            ours,
            name=payload.event_name or ours.name,
            venue=payload.venue or ours.venue,
            date=date,
            time_range=ours.time_range if payload.event_date == event.starts_at else date,
            zone=format_zone(payload.event_date, event.zone) if payload.event_date else "",
        )
        branding = Branding.of(event)
        shell = Shell.compile(facts, branding, why=on_the_guest_list(facts), eyebrow="You're invited")
        return cls(facts, branding, shell)

    def render(self, *, guest_name: str, link: str, unsubscribe_url: str | None) -> RenderedMail:
        values = {
            "branding": self._branding,
            "facts": self._facts,
            "guest_name": greeted(guest_name),
            "link": link,
        }
        subject = f"You're invited — {self._facts.name}"
        return notice("invitation", subject, self._shell, values, unsubscribe_url=unsubscribe_url)


def _why_not_needed(payload: InvitationSend, _: Rules) -> str | None:
    return None if payload.guest_email else HOST_MANAGED


def _why_skipped(context: NotificationContext) -> SkipReason | None:
    return SkipReason.EVENT_STARTED if context.event.starts_at <= context.read_at else None


def _compose(payload: InvitationSend, context: NotificationContext, facts: RecipientFacts, kit: MailKit) -> Letter:
    event = context.event
    unsubscribe = kit.links.unsubscribe(facts.guest_id, event.id) if facts.guest_id else None
    name = payload.guest_name or facts.guest_name
    rendered = InvitationMail.compile(event, payload, host_name=context.host.name).render(
        guest_name=name, link=payload.link or kit.links.rsvp(facts), unsubscribe_url=unsubscribe
    )
    return kit.to_guest(context, name, rendered, unsubscribe_url=unsubscribe)


def _sample(party: Party) -> dict[str, object]:
    return party.ids | {
        "guest_email": party.guest_email,
        "guest_name": party.guest_name,
        "host_name": party.host_name,
        "event_name": party.event_name,
        "venue": party.venue,
        "event_date": go_time(party.starts_at),
        "link": "",
    }


INVITATION = NotificationDefinition(
    type=NotificationType("invitation"),
    label="Invitation",
    event="invitation.send",
    summary="A host invites a guest: the guest gets the invitation.",
    job="invitation",
    job_description="Sends the invitations that hosts ask for. Safe to re-execute.",
    payload=InvitationSend,
    recipient=Recipient.INVITED_GUEST,
    compose=_compose,
    sample=_sample,
    publish_options=(
        click.Option(["--guest-email"], help="An empty one means that the host delivers the invitation."),
        click.Option(["--guest-name"]),
        click.Option(["--event-name"]),
        click.Option(["--link"], help="Default: the guest's own RSVP link."),
    ),
    follows_unsubscribe=True,
    why_not_needed=_why_not_needed,
    why_skipped=_why_skipped,
    given_names=lambda settings: (settings.nats_subject_invitation_send, settings.nats_consumer_invitation_send),
)
