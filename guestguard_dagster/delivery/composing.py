"""From a row to the mail or text that leaves: current facts, re-checked, rendered.

The same code screens recipients for the preflight and for the hand-off.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.deliveries import DeliveryStatus, SkipReason
from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.domain.placeholders import TemplateRefused
from guestguard_dagster.domain.suppressions import EVERY_HOST, for_host, for_sending_number
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.mail import MailTemplate, rsvp_button_label
from guestguard_dagster.rendering.shell import Branding
from guestguard_dagster.rendering.sms import TextTemplate, TextTooLong
from guestguard_dagster.senders.base import Mail, Text
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.deliveries.recording import Refusal
from guestguard_dagster.storage.messages.contexts import MessageContext

_CONTEXTS_HOLD_SECONDS = 1.0


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


# a recipient, and the address that the channel reaches them by
_Addressed = tuple[RecipientFacts, str | None]
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Screened:
    ready: list[_Ready]
    refusals: list[Refusal]
    stopped: set[UUID]
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

    def __init__(self, sending: SendContext) -> None:
        self._sending = sending
        self._compiled: dict[UUID, _Compiled] = {}
        self._contexts: dict[UUID, MessageContext] = {}
        self._contexts_read_at = 0.0

    def forget(self) -> None:
        self._contexts = {}

    def compose(self, recipients: Sequence[RecipientFacts]) -> Composed:
        """Check and render these rows as things stand now."""
        screened = self._screen(recipients)
        composed = Composed([], screened.refusals, frozenset(screened.stopped))
        for ready in screened.ready:
            try:
                composed.items.append((ready.facts, self._render(ready)))
            except TextTooLong as problem:
                composed.refusals.append(_too_long(ready, problem))
        return composed

    def check(self, recipients: Sequence[RecipientFacts]) -> CheckReport:
        """What `compose` would refuse of these rows now, suppressions aside: they are asked for when a row leaves.

        A mail is not filled in for that: once its template is compiled, it takes any guest's name and link.
        """
        screened = self._screen(recipients, checks_suppressions=False)
        fit, refusals = 0, screened.refusals
        for ready in screened.ready:
            try:
                if isinstance(ready.template, TextTemplate):
                    self._render(ready)
                fit += 1
            except TextTooLong as problem:
                refusals.append(_too_long(ready, problem))
        return CheckReport(fit, refusals, screened.broken, frozenset(screened.stopped))

    def _screen(self, recipients: Sequence[RecipientFacts], *, checks_suppressions: bool = True) -> _Screened:
        screened = _Screened([], [], set(), {})
        leaving = list(self._of_messages_that_may_leave(recipients, screened))
        suppressed = self._suppressed_scopes(leaving) if checks_suppressions else {}
        for context, members in leaving:
            self._screen_message(screened, context, members, suppressed.get(context.message.channel, {}))
        return screened

    def _of_messages_that_may_leave(
        self, recipients: Sequence[RecipientFacts], screened: _Screened
    ) -> Iterator[tuple[MessageContext, list[_Addressed]]]:
        """Message by message; those that are held, or wait, are noted in `screened`."""
        contexts = self._contexts_of({facts.queue_id for facts in recipients})
        by_message: dict[int, list[RecipientFacts]] = {}
        for facts in recipients:
            by_message.setdefault(facts.queue_id.int, []).append(facts)
        for members in by_message.values():
            queue_id = members[0].queue_id
            context = contexts.get(queue_id)
            if context is None or not context.may_leave_now:
                screened.stopped.add(queue_id)
            else:
                yield context, [(facts, _address(facts, context)) for facts in members]

    def _screen_message(
        self,
        screened: _Screened,
        context: MessageContext,
        members: Sequence[_Addressed],
        suppressed: Mapping[str, frozenset[str]],
    ) -> None:
        for_all = _reason_to_skip_all(context)
        scopes = self._scopes(context)
        problem, template = self._template_or_problem(context)
        for facts, address in members:
            reason = for_all or _reason_to_skip(facts, context) or (SkipReason.NO_ADDRESS if address is None else None)
            if reason is not None or address is None:
                screened.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SKIPPED, str(reason)))
            elif suppressed and not suppressed.get(address, _NONE).isdisjoint(scopes):
                screened.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SUPPRESSED, "suppressed"))
            elif template is None:
                screened.broken[facts.queue_id] = problem
                screened.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.FAILED, problem))
            else:
                screened.ready.append(_Ready(facts, address, context, template))

    def _contexts_of(self, message_ids: set[UUID]) -> dict[UUID, MessageContext]:
        if boot_seconds() - self._contexts_read_at > _CONTEXTS_HOLD_SECONDS:
            self._contexts, self._contexts_read_at = {}, boot_seconds()
        if unread := message_ids - self._contexts.keys():
            self._contexts |= self._sending.contexts.load(list(unread))
        return self._contexts

    def _template_or_problem(self, context: MessageContext) -> tuple[str, MailTemplate | TextTemplate | None]:
        try:
            return "", self._template(context)
        except TemplateRefused as problem:
            return f"template refused: {problem}", None

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
        self, leaving: Sequence[tuple[MessageContext, Sequence[_Addressed]]]
    ) -> dict[MessageChannel, dict[str, frozenset[str]]]:
        addresses: dict[MessageChannel, set[str]] = {}
        for context, members in leaving:
            known = addresses.setdefault(context.message.channel, set())
            known.update(address for _, address in members if address is not None)
        return {
            channel: self._sending.suppressions.scopes_among(channel, known) if known else {}
            for channel, known in addresses.items()
        }

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


def _reason_to_skip_all(context: MessageContext) -> SkipReason | None:
    if context.event_is_off:
        return SkipReason.EVENT_CANCELLED
    too_late = context.too_late_at(context.read_at)
    return SkipReason(too_late.value) if too_late else None


def _reason_to_skip(facts: RecipientFacts, context: MessageContext) -> SkipReason | None:
    if facts.removed:
        return SkipReason.GUEST_REMOVED
    if not context.message.audience.includes(facts.rsvp_status):
        return SkipReason.NOT_IN_AUDIENCE
    return None
