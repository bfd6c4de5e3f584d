"""RSVP confirmation: a guest has answered, and gets back what was noted, with a calendar file when attending."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import uuid4

import click
from pydantic import BeforeValidator, Field

from guestguard_dagster.clock import utc_now
from guestguard_dagster.domain.events import Event, RsvpStatus, User
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.domain.payloads import (
    Answered,
    GoTime,
    Identity,
    KnownId,
    Payload,
    go_time,
    one_line,
    text_of_number,
    zero_for_null,
)
from guestguard_dagster.notifications.definition import NotificationDefinition, Party, Recipient
from guestguard_dagster.notifications.letters import Letter, MailKit
from guestguard_dagster.rendering.calendar import CALENDAR_FILENAME, CALENDAR_TYPE, calendar_file
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.mail import RenderedMail
from guestguard_dagster.rendering.notices import greeted, notice
from guestguard_dagster.rendering.shell import Branding, Shell
from guestguard_dagster.senders.base import Attachment
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.notifications.repo import NotificationContext

MOST_PLUS_ONES = 1000
_LONGEST_ID = 200

_RESPONSES: Mapping[str, RsvpStatus] = {
    "attending": RsvpStatus.ATTENDING,
    "accepted": RsvpStatus.ATTENDING,
    "yes": RsvpStatus.ATTENDING,
    "confirmed": RsvpStatus.ATTENDING,
    "going": RsvpStatus.ATTENDING,
    "coming": RsvpStatus.ATTENDING,
    "declined": RsvpStatus.DECLINED,
    "not_attending": RsvpStatus.DECLINED,
    "not_going": RsvpStatus.DECLINED,
    "not_coming": RsvpStatus.DECLINED,
    "rejected": RsvpStatus.DECLINED,
    "no": RsvpStatus.DECLINED,
    "maybe": RsvpStatus.MAYBE,
    "tentative": RsvpStatus.MAYBE,
}


def _response(value: object) -> RsvpStatus:
    word = "_".join(value.lower().replace("-", " ").replace("_", " ").split()) if isinstance(value, str) else ""
    known = _RESPONSES.get(word)
    if known is None:
        raise ValueError("must be attending, declined or maybe")
    return known


def _number_or_none(value: object) -> float | None:
    """No score is worth refusing an answer for."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


class RsvpConfirmed(Payload):
    """A guest has answered. `risk_score` is kept as it came; what becomes of it is the fraud service's business."""

    rsvp_id: Annotated[str, BeforeValidator(text_of_number), one_line(_LONGEST_ID), Field(min_length=1)]
    guest_id: KnownId
    event_id: KnownId
    response: Annotated[RsvpStatus, BeforeValidator(_response)]
    plus_ones: Annotated[int, BeforeValidator(zero_for_null), Field(ge=0, le=MOST_PLUS_ONES)] = 0
    submitted_at: GoTime = None
    risk_score: Annotated[float | None, BeforeValidator(_number_or_none)] = None

    @property
    def is_attending(self) -> bool:
        return self.response is RsvpStatus.ATTENDING

    def answered(self, published_at: datetime) -> Answered:
        """When the event was stored bounds when the answer was given: no clock that is fast beats a later answer."""
        at = min(self.submitted_at, published_at) if self.submitted_at else published_at
        return Answered(at, self.response, self.plus_ones)

    def identity(self, message_id: str | None) -> Identity:
        """The same answer, given at the same instant, is one for ever; a changed answer is another event."""
        if self.submitted_at is not None:
            return Identity(f"rsvp:{self.rsvp_id}:{self.response}:{self.submitted_at.isoformat()}", None)
        if message_id:
            return Identity(f"id:{message_id}", None)
        return Identity(f"rsvp:{self.rsvp_id}:{self.response}:{self.plus_ones}", timedelta(hours=1))


_ANSWERS = {
    RsvpStatus.ATTENDING: "You're going",
    RsvpStatus.MAYBE: "You might come",
    RsvpStatus.DECLINED: "You can't make it",
}


@dataclass(frozen=True, slots=True)
class ConfirmationMail:
    """What a guest answered, back to the guest."""

    _facts: EventFacts
    _branding: Branding
    _shell: Shell

    @classmethod
    def compile(cls, event: Event, *, host_name: str) -> "ConfirmationMail":
        facts = EventFacts.of(event, host_name=host_name)
        branding = Branding.of(event)
        why = f"You receive this mail because you answered the invitation to {facts.name}."
        return cls(facts, branding, Shell.compile(facts, branding, why=why, eyebrow="Your RSVP is confirmed"))

    def render(self, *, guest_name: str, answer: RsvpStatus, plus_ones: int, rsvp_link: str) -> RenderedMail:
        values = {
            "branding": self._branding,
            "facts": self._facts,
            "guest_name": greeted(guest_name),
            "answer": answer.value,
            "headline": _ANSWERS[answer],
            "company": _company(plus_ones) if answer is not RsvpStatus.DECLINED else "",
            "rsvp_link": rsvp_link,
        }
        return notice("confirmation", "Your RSVP is confirmed", self._shell, values)


def _company(plus_ones: int) -> str:
    if plus_ones == 0:
        return ""
    return "with one more guest" if plus_ones == 1 else f"with {plus_ones} more guests"


def _compose(payload: RsvpConfirmed, context: NotificationContext, facts: RecipientFacts, kit: MailKit) -> Letter:
    rendered = kit.kept(_template, context).render(
        guest_name=facts.guest_name,
        answer=payload.response,
        plus_ones=payload.plus_ones,
        rsvp_link=kit.links.rsvp(facts),
    )
    attachments = (kit.kept(_calendar, context),) if payload.is_attending else ()
    return kit.to_guest(context, facts.guest_name, rendered, attachments=attachments)


def _template(event: Event, host: User) -> ConfirmationMail:
    return ConfirmationMail.compile(event, host_name=host.name)


def _calendar(event: Event, host: User) -> Attachment:
    return Attachment(CALENDAR_FILENAME, CALENDAR_TYPE, calendar_file(event, host))


def _sample(party: Party) -> dict[str, object]:
    return party.ids | {
        "rsvp_id": str(uuid4()),
        "response": "attending",
        "plus_ones": 1,
        "risk_score": 4.2,
        "submitted_at": go_time(utc_now()),
    }


CONFIRMATION = NotificationDefinition(
    type=NotificationType("confirmation"),
    label="RSVP confirmation",
    event="rsvp.confirmed",
    summary="A guest has answered: the guest gets a confirmation.",
    job="rsvp_confirmation",
    job_description="Confirms guests' answers to them, with a calendar file for those who attend. Safe to re-execute.",
    payload=RsvpConfirmed,
    recipient=Recipient.GUEST,
    compose=_compose,
    sample=_sample,
    publish_options=(
        click.Option(["--response"], type=click.Choice(["attending", "declined", "maybe"]), help="Default: attending."),
        click.Option(["--plus-ones"], type=click.IntRange(0, MOST_PLUS_ONES), help="Default: 1."),
        click.Option(["--rsvp-id"], help="Default: a new one."),
    ),
    given_names=lambda settings: (settings.nats_subject_rsvp_confirmed, settings.nats_consumer_rsvp_confirmed),
)
