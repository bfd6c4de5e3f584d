"""Which channels' provider accounts take nothing at the moment, as the due-messages sensor needs to know it."""

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.senders.picker import Senders
from guestguard_dagster.storage.messages.run_requests import BlockedChannel, RunRequestRepo
from guestguard_dagster.storage.providers.breakers import FIRST_OPEN_TIME, BreakerRepo


def blocked_channels(breakers: BreakerRepo, senders: Senders) -> dict[MessageChannel, BlockedChannel]:
    """The channels whose breaker is open for long; when its time is over, one message may probe.

    What is over in some seconds (a server that takes no more connections for now) is waited for by the runs themselves.
    """
    blocked_channels = {}
    for channel in MessageChannel:
        breaker = breakers.get(senders.for_channel(channel).account)
        if breaker is not None and breaker.open_for >= FIRST_OPEN_TIME:
            blocked_channels[channel] = BlockedChannel(breaker.open_until, breaker.reason, probe=not breaker.remaining)
    return blocked_channels


def wake_from_replaced_accounts(breakers: BreakerRepo, requests: RunRequestRepo, senders: Senders) -> None:
    """Nobody waits for an account that a new key, or another provider, has taken the place of."""
    for reason in breakers.close_all_but({senders.for_channel(channel).account for channel in MessageChannel}):
        requests.wake(reason=reason)
