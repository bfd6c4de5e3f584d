"""The mails that answer to events: a confirmation, a fraud alert, an invitation. Written by us, not by hosts.

Each is compiled once per event, and rendered for each recipient. Values are cleaned, and escaped in HTML.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from guestguard_dagster.domain.events import Event, RsvpStatus
from guestguard_dagster.domain.notifications import FraudScored, InvitationSend
from guestguard_dagster.domain.plain_text import GUEST_NAME_LIMIT, SUBJECT_LIMIT, clean_value
from guestguard_dagster.rendering.dates import format_date, format_zone
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.mail import RenderedMail
from guestguard_dagster.rendering.shell import Branding, Shell, on_the_guest_list, render_template

_HIGH_RISK_FROM = 80

_ANSWERS = {
    RsvpStatus.ATTENDING: "You're going",
    RsvpStatus.MAYBE: "You might come",
    RsvpStatus.DECLINED: "You can't make it",
}


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a guest answered, back to the guest."""

    _facts: EventFacts
    _branding: Branding
    _shell: Shell

    @classmethod
    def compile(cls, event: Event, *, host_name: str) -> "Confirmation":
        facts = EventFacts.of(event, host_name=host_name)
        branding = Branding.of(event)
        why = f"You receive this mail because you answered the invitation to {facts.name}."
        return cls(facts, branding, Shell.compile(facts, branding, why=why, eyebrow="Your RSVP is confirmed"))

    def render(self, *, guest_name: str, answer: RsvpStatus, plus_ones: int, rsvp_link: str) -> RenderedMail:
        values = {
            "branding": self._branding,
            "facts": self._facts,
            "guest_name": _greeted(guest_name),
            "answer": answer.value,
            "headline": _ANSWERS[answer],
            "company": _company(plus_ones) if answer is not RsvpStatus.DECLINED else "",
            "rsvp_link": rsvp_link,
        }
        return _mail("confirmation", "Your RSVP is confirmed", self._shell, values)


@dataclass(frozen=True, slots=True)
class FraudAlert:
    """A visit that looks like fraud, to the event's host."""

    _event: Event
    _facts: EventFacts
    _branding: Branding
    _shell: Shell

    @classmethod
    def compile(cls, event: Event, *, host_name: str) -> "FraudAlert":
        facts = EventFacts.of(event, host_name=host_name)
        branding = Branding.of(event)
        why = f"You receive this mail because you are the host of {facts.name}."
        return cls(event, facts, branding, Shell.compile(facts, branding, why=why, eyebrow="Security alert"))

    def render(
        self, *, payload: FraudScored, guest_name: str | None, seen_at: datetime, event_link: str
    ) -> RenderedMail:
        """`seen_at` is when the visit was reported. Without a guest, the mail speaks of a guest's link."""
        zone = self._event.zone
        values = {
            "branding": self._branding,
            "facts": self._facts,
            "host_name": _greeted(self._facts.host_name or "") if self._facts.host_name else "",
            "guest_name": clean_value(guest_name or "", GUEST_NAME_LIMIT),
            "score": f"{payload.score:.0f}",
            "share": max(0, min(100, round(payload.score))),
            "risk": payload.risk,
            "is_high": payload.score >= _HIGH_RISK_FROM,
            "reasons": [reason[:1].upper() + reason[1:] for reason in map(_readable, payload.reasons)],
            "seen_at": f"{format_date(seen_at, zone)}, {format_zone(seen_at, zone)}",
            "event_link": event_link,
        }
        return _mail("fraud_alert", "Suspicious access attempt detected", self._shell, values)


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation by its host. What the payload leaves empty comes from the event, but for the date."""

    _facts: EventFacts
    _branding: Branding
    _shell: Shell

    @classmethod
    def compile(cls, event: Event, payload: InvitationSend, *, host_name: str) -> "Invitation":
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
            "guest_name": _greeted(guest_name),
            "link": link,
        }
        subject = f"You're invited — {self._facts.name}"
        return _mail("invitation", subject, self._shell, values, unsubscribe_url=unsubscribe_url)


def _mail(
    template: str, subject: str, shell: Shell, values: dict[str, object], *, unsubscribe_url: str | None = None
) -> RenderedMail:
    text = render_template(f"{template}.txt", **values).strip("\n")
    return RenderedMail(
        subject=clean_value(subject, SUBJECT_LIMIT),
        text=shell.text(text, unsubscribe_url=unsubscribe_url),
        html=shell.html(render_template(f"{template}.html", **values), text=text, unsubscribe_url=unsubscribe_url),
    )


def _greeted(name: str) -> str:
    return clean_value(name, GUEST_NAME_LIMIT) or "there"


def _company(plus_ones: int) -> str:
    if plus_ones == 0:
        return ""
    return "with one more guest" if plus_ones == 1 else f"with {plus_ones} more guests"


def _readable(reason: str) -> str:
    """Scorers give codes such as `new_device` as well as sentences."""
    return reason if " " in reason else reason.replace("_", " ")
