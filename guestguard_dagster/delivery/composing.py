"""From a row to the mail or text that leaves: current facts, re-checked, rendered.

The same code screens recipients for the preflight and for the hand-off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.domain.deliveries import DeliveryStatus, SkipReason
from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.domain.placeholders import TemplateRefused
from guestguard_dagster.domain.suppressions import EVERY_HOST, for_host, for_sending_number
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.links import rsvp_link, unsubscribe_url
from guestguard_dagster.rendering.mail import MailTemplate, rsvp_button_label
from guestguard_dagster.rendering.shell import Branding
from guestguard_dagster.rendering.sms import TextTemplate, TextTooLong
from guestguard_dagster.senders.base import Mail, Text
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.contexts import MessageContext
from guestguard_dagster.storage.deliveries import Refusal
from guestguard_dagster.storage.recipient_facts import RecipientFacts

if TYPE_CHECKING:
    from guestguard_dagster.delivery.send_context import SendContext


_CONTEXTS_HOLD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LinkMaker:
    """The links that a mail carries. `secret` signs the unsubscribe link."""

    rsvp_prefix: str
    public_base_url: str
    secret: str = field(repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> "LinkMaker":
        return cls(settings.rsvp_link_prefix, settings.public_base_url, settings.require_secret_key())

    def rsvp(self, facts: RecipientFacts) -> str:
        return rsvp_link(self.rsvp_prefix, facts.rsvp_token)

    def event(self, event_id: UUID) -> str:
        """The host's page of an event."""
        return f"{self.public_base_url.rstrip('/')}/manage/{event_id}/communications"

    def unsubscribe(self, guest_id: UUID, event_id: UUID) -> str:
        return unsubscribe_url(self.public_base_url, self.secret, guest_id, event_id)


@dataclass(frozen=True, slots=True)
class Composed:
    """`items` leave; `refusals` are settled without leaving; rows of the messages in `stopped` stay as they are."""

    items: list[tuple[RecipientFacts, Mail | Text]]
    refusals: list[Refusal]
    stopped: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A message's template, good for as long as neither message, event nor host has changed."""

    made_of: tuple[object, ...]
    template: MailTemplate | TextTemplate


class _Ready(NamedTuple):
    """A recipient whom nothing speaks against, and what is filled in for them."""

    facts: RecipientFacts
    address: str
    context: MessageContext
    template: MailTemplate | TextTemplate


@dataclass(frozen=True, slots=True)
class _Screened:
    ready: list[_Ready]
    refusals: list[Refusal]
    stopped: frozenset[UUID]
    broken: dict[UUID, str]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """So many rows `fit`; the others are in `refusals`, but for those of messages that are `stopped`.

    `broken` says which messages fit nobody, and why.
    """

    fit: int
    refusals: list[Refusal]
    broken: dict[UUID, str]
    stopped: frozenset[UUID]

    def __add__(self, other: "CheckReport") -> "CheckReport":
        return CheckReport(
            self.fit + other.fit,
            self.refusals + other.refusals,
            self.broken | other.broken,
            self.stopped | other.stopped,
        )


class Composer(Protocol):
    """What makes mails and texts of leased rows, from what is known at that moment."""

    def compose(self, recipients: Sequence[RecipientFacts]) -> Composed: ...

    def forget(self) -> None:
        """Something has changed: read everything anew."""
        ...


class MessageComposer:
    """Composes scheduled messages for one run; keeps each message's compiled template.

    Messages and events are read once a second: the commit before a hand-off refuses what may no longer leave.
    """

    def __init__(self, sending: "SendContext") -> None:
        self._sending = sending
        self._compiled: dict[UUID, _Compiled] = {}
        self._contexts: dict[UUID, MessageContext] = {}
        self._contexts_read_at = 0.0

    def forget(self) -> None:
        self._contexts = {}

    def compose(self, recipients: Sequence[RecipientFacts]) -> Composed:
        """Check and render these rows as things stand now."""
        screened = self._screen(recipients)
        composed = Composed([], screened.refusals, screened.stopped)
        for ready in screened.ready:
            try:
                composed.items.append((ready.facts, self._render(ready)))
            except TextTooLong as problem:
                composed.refusals.append(_too_long(ready, problem))
        return composed

    def check(self, recipients: Sequence[RecipientFacts]) -> CheckReport:
        """What `compose` would refuse of these rows now.

        A mail is not filled in for that: once its template is compiled, it takes any guest's name and link.
        """
        screened = self._screen(recipients)
        fit, refusals = 0, screened.refusals
        for ready in screened.ready:
            try:
                if isinstance(ready.template, TextTemplate):
                    self._render(ready)
                fit += 1
            except TextTooLong as problem:
                refusals.append(_too_long(ready, problem))
        return CheckReport(fit, refusals, screened.broken, screened.stopped)

    def _screen(self, recipients: Sequence[RecipientFacts]) -> _Screened:
        contexts = self._contexts_of({facts.queue_id for facts in recipients})
        stopped = frozenset(
            facts.queue_id
            for facts in recipients
            if (context := contexts.get(facts.queue_id)) is None or not context.may_leave_now
        )
        recipients = [facts for facts in recipients if facts.queue_id not in stopped]
        suppressed = self._suppressed_scopes(recipients, contexts)
        screened = _Screened([], [], stopped, {})
        for facts in recipients:
            context = contexts[facts.queue_id]
            address = _address(facts, context)
            reason = _reason_to_skip(facts, context) or (SkipReason.NO_ADDRESS if address is None else None)
            if reason is not None or address is None:
                screened.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SKIPPED, str(reason)))
            elif address in suppressed and suppressed[address] & self._scopes(context):
                screened.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SUPPRESSED, "suppressed"))
            else:
                self._add_with_template(screened, facts, address, context)
        return screened

    def _contexts_of(self, message_ids: set[UUID]) -> dict[UUID, MessageContext]:
        if boot_seconds() - self._contexts_read_at > _CONTEXTS_HOLD_SECONDS:
            self._contexts, self._contexts_read_at = {}, boot_seconds()
        if unread := message_ids - self._contexts.keys():
            self._contexts |= self._sending.contexts.load(list(unread))
        return self._contexts

    def _add_with_template(
        self, screened: _Screened, facts: RecipientFacts, address: str, context: MessageContext
    ) -> None:
        try:
            if facts.queue_id not in screened.broken:
                screened.ready.append(_Ready(facts, address, context, self._template(context)))
                return
        except TemplateRefused as problem:
            screened.broken[facts.queue_id] = f"template refused: {problem}"
        screened.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.FAILED, screened.broken[facts.queue_id]))

    def _render(self, ready: _Ready) -> Mail | Text:
        facts, address, context, template = ready
        link = self._sending.links.rsvp(facts)
        if isinstance(template, TextTemplate):
            return Text(
                delivery_id=facts.delivery_id,
                round=facts.round,
                to_phone=address,
                body=template.render(guest_name=facts.guest_name, rsvp_link=link),
                installation=self._sending.installation.id,
                valid_until=context.event.starts_at if not context.leaves_after_start else None,
            )
        unsubscribe = self._sending.links.unsubscribe(facts.guest_id, context.event.id) if facts.guest_id else None
        rendered = template.render(guest_name=facts.guest_name, rsvp_link=link, unsubscribe_url=unsubscribe)
        return Mail(
            delivery_id=facts.delivery_id,
            round=facts.round,
            to_email=address,
            to_name=facts.guest_name,
            from_name=from_name(context.event, context.host, self._sending.senders.from_name),
            reply_to=context.host.email,
            subject=rendered.subject,
            text=rendered.text,
            html=rendered.html,
            installation=self._sending.installation.id,
            unsubscribe_url=unsubscribe,
        )

    def _template(self, context: MessageContext) -> MailTemplate | TextTemplate:
        message, event = context.message, context.event
        made_of = (message.version, event.updated_at, context.host)
        known = self._compiled.get(message.id)
        if known is not None and known.made_of == made_of:
            return known.template
        facts = EventFacts.of(event, host_name=context.host.name)
        template: MailTemplate | TextTemplate
        if message.channel is MessageChannel.SMS:
            template = TextTemplate.compile(message.body, facts)
        else:
            template = MailTemplate.compile(
                message.subject,
                message.body,
                facts,
                branding=Branding.of(event),
                button_label=rsvp_button_label(message.audience),
            )
        self._compiled[message.id] = _Compiled(made_of, template)
        return template

    def _suppressed_scopes(
        self, recipients: Sequence[RecipientFacts], contexts: Mapping[UUID, MessageContext]
    ) -> dict[str, frozenset[str]]:
        addresses: dict[MessageChannel, set[str]] = {}
        for facts in recipients:
            context = contexts[facts.queue_id]
            if address := _address(facts, context):
                addresses.setdefault(context.message.channel, set()).add(address)
        scopes: dict[str, frozenset[str]] = {}
        for channel, known in addresses.items():
            scopes |= self._sending.suppressions.scopes_among(channel, known)
        return scopes

    def _scopes(self, context: MessageContext) -> set[str]:
        scopes = {EVERY_HOST, for_host(context.host.id)}
        number = self._sending.senders.sending_number
        if context.message.channel is MessageChannel.SMS and number is not None:
            scopes.add(for_sending_number(number))
        return scopes


def from_name(event: Event, host: User, service: str) -> str:
    """Who a mail comes from, as its reader sees it: the event's sender name, else its host's, via our service."""
    return f"{event.sender_name or host.name} via {service}"


def _too_long(ready: _Ready, problem: TextTooLong) -> Refusal:
    return Refusal(ready.facts.delivery_id, DeliveryStatus.FAILED, str(problem))


def _address(facts: RecipientFacts, context: MessageContext) -> str | None:
    if context.message.channel is MessageChannel.EMAIL:
        return facts.email or None
    return to_e164(facts.phone, context.event.phone_region) if facts.phone else None


def _reason_to_skip(facts: RecipientFacts, context: MessageContext) -> SkipReason | None:
    if context.event_is_off:
        return SkipReason.EVENT_CANCELLED
    if context.event_has_overtaken:
        return SkipReason.EVENT_STARTED
    if context.words_have_expired:
        return SkipReason.TIME_PASSED
    if facts.removed:
        return SkipReason.GUEST_REMOVED
    audience = context.message.audience
    if audience is not MessageAudience.EVERYONE and facts.rsvp_status != audience.value:
        return SkipReason.NOT_IN_AUDIENCE
    return None
