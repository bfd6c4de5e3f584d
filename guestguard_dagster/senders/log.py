"""The dry run: looks at every mail and text, sends none of them, and says so."""

import logging
from collections.abc import Sequence

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import HandOff, LeaseLost, Mail, Permit, RateLimit, Text

logger = logging.getLogger(__name__)


class LogSender:
    """Takes everything, sends nothing: the stand-in where no provider is configured, and the dry run of any message."""

    provider = "log"
    batch_size = 50
    repeatable = True
    overlaps = False
    rate_limit: RateLimit | None = None

    def __init__(self, channel: MessageChannel) -> None:
        self.account = f"log:{channel}"

    def prepare(self, items: Sequence[Mail | Text]) -> list[HandOff]:
        members = tuple(item.delivery_id for item in items)
        return [HandOff(members, self.account, body=None)] if items else []

    def hand_off(self, request: HandOff, permit: Permit) -> list[Outcome | None]:
        try:
            permit()
        except LeaseLost:
            return [None for _ in request.members]
        logger.info("%s looked at deliveries %s and sent nothing", self.account, list(request.members))
        looked_at = Outcome(OutcomeClass.DRY_RUN, detail="the log backend took it; nothing was sent")
        return [looked_at for _ in request.members]

    def close(self) -> None:
        """Nothing is held."""
