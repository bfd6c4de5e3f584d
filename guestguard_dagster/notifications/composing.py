"""From a notification's delivery row to the mail that leaves: current facts, re-checked, rendered.

Quiet hours do not hold these mails: they answer to what somebody has just done.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from guestguard_dagster.delivery.composing import Composed
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.deliveries import DeliveryStatus, SkipReason
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.payloads import Payload
from guestguard_dagster.domain.suppressions import EVERY_HOST, for_host
from guestguard_dagster.notifications.definition import NotificationDefinition
from guestguard_dagster.notifications.letters import MailKit
from guestguard_dagster.notifications.registry import definition_of
from guestguard_dagster.senders.base import Mail
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.deliveries.recording import Refusal
from guestguard_dagster.storage.notifications.repo import NotificationContext


class NotificationComposer:
    """Composes notifications for one run."""

    def __init__(self, sending: SendContext) -> None:
        self._sending = sending
        self._kit = MailKit(sending)

    def compose(self, recipients: Sequence[RecipientFacts]) -> Composed:
        """Check and render these rows as things stand now."""
        contexts = self._sending.notifications.contexts([facts.delivery_id for facts in recipients])
        due = {delivery_id: _Due.of(context) for delivery_id, context in contexts.items()}
        suppressed = self._suppressed_scopes(due.values())
        composed = Composed([], [], frozenset())
        for facts in recipients:
            notification = due.get(facts.delivery_id)
            if notification is None:
                refusal = Refusal(facts.delivery_id, DeliveryStatus.FAILED, "the event has no host any more")
                composed.refusals.append(refusal)
                continue
            reason = notification.reason_to_skip
            if reason is not None:
                composed.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SKIPPED, reason))
            elif suppressed.get(notification.address, frozenset()) & notification.scopes:
                composed.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SUPPRESSED, "suppressed"))
            else:
                composed.items.append((facts, self._mail(facts, notification)))
        return composed

    def forget(self) -> None:
        """Nothing that could change is kept."""

    def _mail(self, facts: RecipientFacts, due: "_Due") -> Mail:
        letter = due.definition.compose(due.payload, due.context, facts, self._kit)
        return Mail(
            delivery_id=facts.delivery_id,
            round=facts.round,
            to_email=due.address,
            to_name=letter.to_name,
            from_name=letter.from_name,
            reply_to=letter.reply_to,
            subject=letter.rendered.subject,
            text=letter.rendered.text,
            html=letter.rendered.html,
            installation=self._sending.installation.id,
            unsubscribe_url=letter.unsubscribe_url,
            attachments=letter.attachments,
        )

    def _suppressed_scopes(self, due: Collection["_Due"]) -> dict[str, frozenset[str]]:
        addresses = {notification.address for notification in due} - {""}
        return self._sending.suppressions.scopes_among(MessageChannel.EMAIL, addresses) if addresses else {}


@dataclass(frozen=True, slots=True)
class _Due:
    """A notification that is to leave, with the definition of its type."""

    definition: NotificationDefinition[Payload]
    payload: Payload
    context: NotificationContext
    address: str

    @classmethod
    def of(cls, context: NotificationContext) -> "_Due":
        definition = definition_of(context.type)
        payload = definition.payload.model_validate(context.payload)
        return cls(definition, payload, context, definition.address(payload, context))

    @property
    def reason_to_skip(self) -> SkipReason | None:
        return self.definition.reason_to_skip(self.context) or (None if self.address else SkipReason.NO_ADDRESS)

    @property
    def scopes(self) -> set[str]:
        """The suppressions that count."""
        own = {for_host(self.context.host.id)} if self.definition.follows_unsubscribe else set()
        return {EVERY_HOST} | own
