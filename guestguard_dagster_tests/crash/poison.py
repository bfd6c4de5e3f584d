"""A recipient for whom no mail can be composed: nothing that can be stored is one, so the composer is made to fail."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from guestguard_dagster.delivery.composing import Composed, MessageComposer
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts


@dataclass(frozen=True, slots=True)
class Poison:
    """Composing for this guest raises, or with `kills` takes the whole process down, as a fault in a C library does."""

    guest_id: UUID
    kills: bool = False


class Poisoned(Exception):
    """The guest is the poison."""


def poison_composer(poison: Poison) -> None:
    """From now on, in this process."""
    compose = MessageComposer.compose

    def composed(self: MessageComposer, recipients: Sequence[RecipientFacts]) -> Composed:
        if any(facts.guest_id == poison.guest_id for facts in recipients):
            if poison.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Poisoned("this guest is the poison")
        return compose(self, recipients)

    MessageComposer.compose = composed  # type: ignore[method-assign]
