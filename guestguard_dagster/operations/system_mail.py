"""Reports and alerts leave as everything else does: leased, written down, handed off, and never twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from guestguard_dagster.delivery.composing import Composed
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.delivery.worker import Worker
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.suppressions import EVERY_HOST
from guestguard_dagster.domain.system_mail import SystemMail, SystemMailKind
from guestguard_dagster.senders.base import Mail
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.deliveries.recording import Refusal
from guestguard_dagster.storage.operations.system_mail import SystemMailRepo

SYSTEM_MAIL_QUEUES = tuple(kind.queue_id for kind in SystemMailKind)


@dataclass(frozen=True, slots=True)
class SystemMailReport:
    """System mails by what the hand-off said; how many are left for later, and why nothing leaves, if so."""

    outcomes: Counter[str]
    left: int
    blocked: str | None


def send_waiting_mail(sending: SendContext, stop: Event) -> SystemMailReport:
    """Hand off every mail that may leave now. What has to wait is left for the next run."""
    worker = Worker(sending, MessageChannel.EMAIL, _SystemMailComposer(sending), stop, transactional=True)
    try:
        worker.recover(SYSTEM_MAIL_QUEUES)
        worker.wake(SYSTEM_MAIL_QUEUES)
        while not stop.is_set() and worker.step():
            pass
    finally:
        worker.close()
    left = sending.batches.unsettled(SYSTEM_MAIL_QUEUES)
    reason = worker.blocked.reason if worker.blocked else None
    return SystemMailReport(worker.outcomes, sum(row.recipients for row in left), reason)


class _SystemMailComposer:
    def __init__(self, sending: SendContext) -> None:
        self._sending = sending
        self._system_mail = SystemMailRepo(sending.database)

    def compose(self, recipients: Sequence[RecipientFacts]) -> Composed:
        """A system mail was rendered when it was written; whether its address may be written to is asked now."""
        mails = self._system_mail.of_deliveries([facts.delivery_id for facts in recipients])
        suppressed = self._sending.suppressions.scopes_among(
            MessageChannel.EMAIL, {mail.address for mail in mails.values()}
        )
        composed = Composed([], [], frozenset())
        for facts in recipients:
            mail = mails[facts.delivery_id]
            if EVERY_HOST in suppressed.get(mail.address, frozenset()):
                composed.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SUPPRESSED, "suppressed"))
            else:
                composed.items.append((facts, self._mail(facts, mail)))
        return composed

    def forget(self) -> None:
        """Nothing that could change is kept."""

    def _mail(self, facts: RecipientFacts, mail: SystemMail) -> Mail:
        return Mail(
            delivery_id=facts.delivery_id,
            round=facts.round,
            to_email=mail.address,
            to_name=mail.name,
            from_name=self._sending.senders.from_name,
            reply_to=None,
            subject=mail.subject,
            text=mail.text,
            html=mail.html,
            installation=self._sending.installation.id,
        )
