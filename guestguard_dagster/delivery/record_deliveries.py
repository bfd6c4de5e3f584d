"""Hand-offs that a crash interrupted, and that cannot be repeated, are settled: nobody knows whether they arrived."""

from collections.abc import Sequence
from uuid import UUID

from guestguard_dagster.delivery.leasing import REPEAT_WITHIN
from guestguard_dagster.delivery.send_context import SendContext


def record_deliveries(sending: SendContext, message_ids: Sequence[UUID]) -> int:
    """Settle what a crash left: hand-offs that were interrupted and that cannot be repeated become `unknown`.

    Returns how many deliveries that were.
    """
    accounts = {sender.account for sender in (sending.senders.email, sending.senders.sms) if sender.repeatable}
    return sending.interrupted.end(message_ids, accounts=accounts, within=REPEAT_WITHIN)
