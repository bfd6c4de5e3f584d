"""A message as one guest would get it: shown to its author, or sent to the author alone, before it leaves."""

import time
from dataclasses import dataclass, field
from datetime import timedelta

from guestguard_dagster.clock import utc_now
from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.links import preview_unsubscribe_url, rsvp_link
from guestguard_dagster.rendering.mail import MailTemplate, RenderedMail, rsvp_button_label
from guestguard_dagster.rendering.shell import Branding
from guestguard_dagster.rendering.sms import TextTemplate
from guestguard_dagster.senders.base import Mail, Text
from guestguard_dagster.senders.picker import Senders
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.providers.breakers import BreakerRepo
from guestguard_dagster.storage.providers.rates import RateRepo

PREVIEW_GUEST = "Alex Sample"
# Where the links of a sample lead: to a page that says what it is. A guest's own link would be a guest's secret.
PREVIEW_TOKEN = "preview"  # noqa: S105 - it opens nothing

# No delivery has this id, so no callback about a sample can be taken for one about a guest.
_NO_DELIVERY = 0
_LONGEST_QUEUE = timedelta(seconds=5)


class PreviewRefused(Exception):
    """Nothing can be sent right now; the text says why."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a message says, saved or not."""

    channel: MessageChannel
    audience: MessageAudience
    subject: str
    body: str = field(repr=False)


def render_preview(
    words: Words, event: Event, host: User, settings: Settings, *, guest_name: str
) -> RenderedMail | str:
    """The mail, or the text of an SMS. Raises TemplateRefused, and TextTooLong for an SMS."""
    facts = EventFacts.of(event, host_name=host.name)
    link = rsvp_link(settings.rsvp_link_prefix, PREVIEW_TOKEN)
    if words.channel is MessageChannel.SMS:
        return TextTemplate.compile(words.body, facts).render(guest_name=guest_name, rsvp_link=link)
    template = MailTemplate.compile(
        words.subject,
        words.body,
        facts,
        branding=Branding.of(event),
        button_label=rsvp_button_label(words.audience),
    )
    return template.render(
        guest_name=guest_name, rsvp_link=link, unsubscribe_url=preview_unsubscribe_url(settings.public_base_url)
    )


def send_test(
    rendered: RenderedMail | str,
    *,
    to: str,
    to_name: str,
    from_name: str,
    installation: str,
    senders: Senders,
    rates: RateRepo,
    breakers: BreakerRepo,
) -> Outcome:
    """Let a rendered sample leave through the same sender, rate and breaker as everything else.

    Raises PreviewRefused while the provider's account takes nothing.
    """
    channel = MessageChannel.SMS if isinstance(rendered, str) else MessageChannel.EMAIL
    sender = senders.for_channel(channel)
    breaker = breakers.get(sender.account)
    if breaker is not None:
        raise PreviewRefused(f"{sender.provider} takes nothing at the moment: {breaker.reason}")
    limit = sender.rate_limit
    if limit is not None:
        wait = rates.reserve(sender.account, cost=1, per_second=limit.per_second, backlog_below=_LONGEST_QUEUE)
        if wait is None:
            raise PreviewRefused(f"{sender.provider} is busy with other messages; try again in a minute")
        time.sleep(wait.total_seconds())
    # Every sample has a Message-ID of its own: a second one must not look like a repeat of the first.
    number = round(utc_now().timestamp() * 1000)
    item = (
        Text(_NO_DELIVERY, number, to, rendered, installation)
        if isinstance(rendered, str)
        else Mail(
            _NO_DELIVERY,
            number,
            to,
            to_name,
            from_name,
            None,
            rendered.subject,
            rendered.text,
            rendered.html,
            installation,
        )
    )
    [request] = sender.prepare([item])
    [outcome] = sender.hand_off(request, permit=_always)
    return outcome or Outcome(OutcomeClass.TRANSIENT, detail="nothing left; try again")


def _always() -> None:
    """A sample is leased by nobody."""
