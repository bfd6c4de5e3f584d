"""Which channels' provider accounts take nothing at the moment, as the due-messages sensor needs to know it."""

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.senders.picker import Senders
from guestguard_dagster.storage.asks import ChannelPause
from guestguard_dagster.storage.breakers import BreakerRepo


def paused_channels(breakers: BreakerRepo, senders: Senders) -> dict[MessageChannel, ChannelPause]:
    """The channels whose breaker is open; when its time is over, one message may probe."""
    pauses = {}
    for channel in MessageChannel:
        breaker = breakers.get(senders.for_channel(channel).account)
        if breaker is not None:
            pauses[channel] = ChannelPause(breaker.open_until, breaker.reason, probe=not breaker.remaining)
    return pauses
