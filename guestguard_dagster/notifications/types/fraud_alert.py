"""Fraud alert: a visit with a guest's link was scored, and from a score up the event's host is warned."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

import click
from pydantic import BeforeValidator, FiniteFloat

from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.domain.payloads import Identity, KnownId, Payload, one_line
from guestguard_dagster.domain.plain_text import GUEST_NAME_LIMIT, clean_value
from guestguard_dagster.notifications.definition import NotificationDefinition, Party, Recipient
from guestguard_dagster.notifications.letters import Letter, MailKit
from guestguard_dagster.notifications.rules import Rules
from guestguard_dagster.rendering.dates import format_date, format_zone
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.mail import RenderedMail
from guestguard_dagster.rendering.notices import greeted, notice
from guestguard_dagster.rendering.shell import Branding, Shell
from guestguard_dagster.senders.scrub import scrub
from guestguard_dagster.settings import FRAUD_ALERT_FROM_SCORE
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.notifications.repo import NotificationContext

BELOW_THRESHOLD: Final = "below_threshold"
_HIGH_RISK_FROM = 80
_MOST_REASONS = 20
_LONGEST_REASON = 200
_LONGEST_RISK = 40
_SAMPLE_SCORE = 87


def _reasons(value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    cleaned = (clean_value(item, _LONGEST_REASON) for item in listed if isinstance(item, str))
    return tuple(reason for reason in cleaned if reason)[:_MOST_REASONS]


class FraudScored(Payload):
    """A visit with a guest's link was scored, from 0 (harmless) to 100. `risk` and `reasons` are for people to read."""

    event_id: KnownId
    score: FiniteFloat
    risk: Annotated[str, one_line(_LONGEST_RISK)] = ""
    reasons: Annotated[tuple[str, ...], BeforeValidator(_reasons)] = ()

    def identity(self, message_id: str | None) -> Identity:
        if message_id:
            return Identity(f"id:{message_id}", None)
        return Identity(f"payload:{self.digest()}", timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class FraudAlertMail:
    """A visit that looks like fraud, to the event's host."""

    _event: Event
    _facts: EventFacts
    _branding: Branding
    _shell: Shell

    @classmethod
    def compile(cls, event: Event, *, host_name: str) -> "FraudAlertMail":
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
            "host_name": greeted(self._facts.host_name or "") if self._facts.host_name else "",
            "guest_name": clean_value(guest_name or "", GUEST_NAME_LIMIT),
            "score": f"{payload.score:.0f}",
            "share": max(0, min(100, round(payload.score))),
            "risk": payload.risk,
            "is_high": payload.score >= _HIGH_RISK_FROM,
            "reasons": [reason[:1].upper() + reason[1:] for reason in map(_readable, payload.reasons)],
            "seen_at": f"{format_date(seen_at, zone)}, {format_zone(seen_at, zone)}",
            "event_link": event_link,
        }
        return notice("fraud_alert", "Suspicious access attempt detected", self._shell, values)


def _readable(reason: str) -> str:
    """Scorers give codes such as `new_device` as well as sentences."""
    return reason if " " in reason else reason.replace("_", " ")


def _why_not_needed(payload: FraudScored, rules: Rules) -> str | None:
    return BELOW_THRESHOLD if payload.score < rules.alert_from_score else None


def _warning(payload: FraudScored) -> str:
    reasons = scrub("; ".join(payload.reasons)) or "none given"
    return f"fraud alert for event {payload.event_id}: score {payload.score:g}, {payload.risk or 'no'} risk, {reasons}"


def _compose(payload: FraudScored, context: NotificationContext, _: RecipientFacts, kit: MailKit) -> Letter:
    rendered = kit.kept(_template, context).render(
        payload=payload,
        guest_name=context.guest.name if context.guest else None,
        seen_at=context.published_at,
        event_link=kit.links.event(context.event.id),
    )
    return kit.to_host(context, rendered)


def _template(event: Event, host: User) -> FraudAlertMail:
    return FraudAlertMail.compile(event, host_name=host.name)


def _sample(party: Party) -> dict[str, object]:
    reasons = ["new_device", "The invitation was opened from three countries within an hour"]
    return party.ids | {"score": _SAMPLE_SCORE, "risk": "high", "reasons": reasons}


FRAUD_ALERT = NotificationDefinition(
    type=NotificationType("fraud_alert"),
    label="Fraud alert",
    event="fraud.scored",
    summary="A visit with a guest's link was scored: the host gets an alert.",
    job="fraud_alert",
    job_description="Warns hosts of visits that look like fraud. Safe to re-execute.",
    payload=FraudScored,
    recipient=Recipient.HOST,
    compose=_compose,
    sample=_sample,
    publish_options=(
        click.Option(
            ["--score"],
            type=float,
            help=f"From 0 to 100; the host is alerted from {FRAUD_ALERT_FROM_SCORE} up. Default: {_SAMPLE_SCORE}.",
        ),
        click.Option(["--risk"], help="Default: high."),
        click.Option(["--reason", "reasons"], multiple=True, help="May be given several times."),
    ),
    why_not_needed=_why_not_needed,
    warning=_warning,
    given_names=lambda settings: (settings.nats_subject_fraud_scored, settings.nats_consumer_fraud_scored),
)
