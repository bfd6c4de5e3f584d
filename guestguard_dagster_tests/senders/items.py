"""Mails and texts for the senders' tests, and a permit that can be lost."""

from collections.abc import Sequence
from datetime import datetime
from threading import Semaphore
from typing import TypeVar

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import Attachment, HandOff, LeaseLost, Mail, Permit, Sender, Text

INSTALLATION = "0a1b2c3d-0000-4000-8000-000000000001"

Item = TypeVar("Item", Mail, Text)


def mail(
    delivery_id: int = 1,
    *,
    to: str | None = None,
    text: str = "See you there.",
    attachments: tuple[Attachment, ...] = (),
) -> Mail:
    return Mail(
        delivery_id=delivery_id,
        round=1,
        to_email=to or f"guest{delivery_id}@example.org",
        to_name=f"Guest {delivery_id}",
        from_name="Ada via GuestGuard",
        reply_to="ada@example.org",
        subject="The garden party",
        text=text,
        html=f"<p>{text}</p>",
        installation=INSTALLATION,
        unsubscribe_url=f"https://guestguard.example/unsubscribe/signed-{delivery_id}",
        attachments=attachments,
    )


def mails(count: int) -> list[Mail]:
    return [mail(delivery_id) for delivery_id in range(1, count + 1)]


def text(delivery_id: int = 1, *, to: str = "+4915112345678", valid_until: datetime | None = None) -> Text:
    return Text(
        delivery_id, round=1, to_phone=to, body="See you there.", installation=INSTALLATION, valid_until=valid_until
    )


def always() -> None:
    """A permit that is never lost."""


class PermitFor:
    """A permit that holds for so many calls, of any threads, and is lost afterwards."""

    def __init__(self, calls: int) -> None:
        self._left = Semaphore(calls)

    def __call__(self) -> None:
        if not self._left.acquire(blocking=False):
            raise LeaseLost


def hand_off_all(sender: Sender[Item], items: Sequence[Item], permit: Permit | None = None) -> list[Outcome | None]:
    """Prepare and hand off everything; the outcomes in the order of the hand-offs."""
    return [outcome for request in sender.prepare(items) for outcome in sender.hand_off(request, permit or always)]


def only(outcomes: Sequence[Outcome | None]) -> Outcome:
    (outcome,) = outcomes
    assert outcome is not None
    return outcome


def classes(outcomes: Sequence[Outcome | None]) -> list[OutcomeClass | None]:
    return [outcome.outcome if outcome else None for outcome in outcomes]


def reloaded(request: HandOff) -> HandOff:
    """The hand-off as another process reads it from the database: the sender's own form is gone."""
    return HandOff(request.members, request.endpoint, request.body, payload=None, key=request.key)
