"""From a notification's delivery row to the mail that leaves: current facts, re-checked, rendered.

Quiet hours do not hold these mails: they answer to what somebody has just done.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from guestguard_dagster.delivery.composing import Composed, from_name
from guestguard_dagster.domain.deliveries import DeliveryStatus, SkipReason
from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.notifications import FraudScored, InvitationSend, RsvpConfirmed
from guestguard_dagster.domain.suppressions import EVERY_HOST, for_host
from guestguard_dagster.rendering.calendar import CALENDAR_FILENAME, CALENDAR_TYPE, calendar_file
from guestguard_dagster.rendering.mail import RenderedMail
from guestguard_dagster.rendering.notices import Confirmation, FraudAlert, Invitation
from guestguard_dagster.senders.base import Attachment, Mail
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.deliveries.recording import Refusal
from guestguard_dagster.storage.notifications.repo import NotificationContext

if TYPE_CHECKING:
    from guestguard_dagster.delivery.send_context import SendContext

_TEMPLATES_KEPT = 256


class NotificationComposer:
    """Composes notifications for one run; keeps the compiled templates of the latest events."""

    def __init__(self, sending: "SendContext") -> None:
        self._sending = sending
        self._calendar = lru_cache(_TEMPLATES_KEPT)(_calendar)
        self._confirmation = lru_cache(_TEMPLATES_KEPT)(_confirmation)
        self._fraud_alert = lru_cache(_TEMPLATES_KEPT)(_fraud_alert)

    def compose(self, recipients: Sequence[RecipientFacts]) -> Composed:
        """Check and render these rows as things stand now."""
        contexts = self._sending.notifications.contexts([facts.delivery_id for facts in recipients])
        suppressed = self._suppressed_scopes(contexts)
        composed = Composed([], [], frozenset())
        for facts in recipients:
            context = contexts.get(facts.delivery_id)
            if context is None:
                refusal = Refusal(facts.delivery_id, DeliveryStatus.FAILED, "the event has no host any more")
                composed.refusals.append(refusal)
                continue
            address = _address(context)
            reason = _reason_to_skip(context) or (None if address else SkipReason.NO_ADDRESS)
            if reason is not None:
                composed.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SKIPPED, reason))
            elif suppressed.get(address, frozenset()) & _scopes(context):
                composed.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SUPPRESSED, "suppressed"))
            else:
                composed.items.append((facts, self._mail(facts, address, context)))
        return composed

    def forget(self) -> None:
        """Nothing that could change is kept."""

    def _mail(self, facts: RecipientFacts, address: str, context: NotificationContext) -> Mail:
        match context.payload:
            case RsvpConfirmed() as payload:
                return self._confirm(facts, address, context, payload)
            case FraudScored() as payload:
                return self._alert(facts, address, context, payload)
            case InvitationSend() as payload:
                return self._invite(facts, address, context, payload)

    def _confirm(
        self, facts: RecipientFacts, address: str, context: NotificationContext, payload: RsvpConfirmed
    ) -> Mail:
        event, host = context.event, context.host
        rendered = self._confirmation(event, host.name).render(
            guest_name=facts.guest_name,
            answer=payload.response,
            plus_ones=payload.plus_ones,
            rsvp_link=self._sending.links.rsvp(facts),
        )
        attachments = (self._calendar(event, host),) if payload.is_attending else ()
        sender = from_name(event, host, self._sending.senders.from_name)
        return _mail_of(
            self._sending, facts, address, facts.guest_name, sender, host.email, rendered, attachments=attachments
        )

    def _alert(self, facts: RecipientFacts, address: str, context: NotificationContext, payload: FraudScored) -> Mail:
        event, host = context.event, context.host
        rendered = self._fraud_alert(event, host.name).render(
            payload=payload,
            guest_name=context.guest.name if context.guest else None,
            seen_at=context.published_at,
            event_link=self._sending.links.event(event.id),
        )
        return _mail_of(self._sending, facts, address, host.name, self._sending.senders.from_name, None, rendered)

    def _invite(
        self, facts: RecipientFacts, address: str, context: NotificationContext, payload: InvitationSend
    ) -> Mail:
        event, host = context.event, context.host
        unsubscribe = self._sending.links.unsubscribe(facts.guest_id, event.id) if facts.guest_id else None
        name = payload.guest_name or facts.guest_name
        rendered = Invitation.compile(event, payload, host_name=host.name).render(
            guest_name=name, link=payload.link or self._sending.links.rsvp(facts), unsubscribe_url=unsubscribe
        )
        sender = from_name(event, host, self._sending.senders.from_name)
        return _mail_of(self._sending, facts, address, name, sender, host.email, rendered, unsubscribe_url=unsubscribe)

    def _suppressed_scopes(self, contexts: Mapping[int, NotificationContext]) -> dict[str, frozenset[str]]:
        addresses = {_address(context) for context in contexts.values()} - {""}
        return self._sending.suppressions.scopes_among(MessageChannel.EMAIL, addresses) if addresses else {}


def _mail_of(
    sending: "SendContext",
    facts: RecipientFacts,
    address: str,
    to_name: str,
    sender: str,
    reply_to: str | None,
    rendered: RenderedMail,
    *,
    unsubscribe_url: str | None = None,
    attachments: tuple[Attachment, ...] = (),
) -> Mail:
    return Mail(
        delivery_id=facts.delivery_id,
        round=facts.round,
        to_email=address,
        to_name=to_name,
        from_name=sender,
        reply_to=reply_to,
        subject=rendered.subject,
        text=rendered.text,
        html=rendered.html,
        installation=sending.installation.id,
        unsubscribe_url=unsubscribe_url,
        attachments=attachments,
    )


def _address(context: NotificationContext) -> str:
    match context.payload:
        case RsvpConfirmed():
            return (context.guest.email if context.guest else None) or ""
        case FraudScored():
            return context.host.email
        case InvitationSend(guest_email=address):
            return address


def _reason_to_skip(context: NotificationContext) -> SkipReason | None:
    """A host is warned in any case; guests are written to while the event is on and they are on its list."""
    if isinstance(context.payload, FraudScored):
        return None
    if context.event.cancelled_at is not None:
        return SkipReason.EVENT_CANCELLED
    if context.guest is None or context.guest.removed_at is not None:
        return SkipReason.GUEST_REMOVED
    if isinstance(context.payload, InvitationSend) and context.event.starts_at <= context.read_at:
        return SkipReason.EVENT_STARTED
    return None


def _scopes(context: NotificationContext) -> set[str]:
    """An unsubscribe spares confirmations."""
    is_invitation = isinstance(context.payload, InvitationSend)
    return {EVERY_HOST, for_host(context.host.id)} if is_invitation else {EVERY_HOST}


def _calendar(event: Event, host: User) -> Attachment:
    return Attachment(CALENDAR_FILENAME, CALENDAR_TYPE, calendar_file(event, host))


def _confirmation(event: Event, host_name: str) -> Confirmation:
    return Confirmation.compile(event, host_name=host_name)


def _fraud_alert(event: Event, host_name: str) -> FraudAlert:
    return FraudAlert.compile(event, host_name=host_name)
