"""How long a process may hand off what it leased, as it can tell without asking the database."""

from datetime import timedelta
from threading import Event

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.senders.base import LeaseLost, TimeIsUp

# Idempotency keys live 24 hours at the provider; an hour is left for clocks and slow calls.
REPEAT_WITHIN = timedelta(hours=23)
# of the lease: room for clocks that run apart, and for the way to the provider
_SAFETY_MARGIN = 1 / 12
# A hand-off takes no longer, however slow the server is: a host's Stop is seen, and other messages have their turn.
_LONGEST_HAND_OFF_SECONDS = 1.5


class LeaseClock:
    """Started before the lease is written, so it runs out before the database's does, even for a frozen process."""

    def __init__(self, stop: Event, duration: timedelta) -> None:
        self._stop = stop
        self._lease_ends_at = boot_seconds() + duration.total_seconds() * (1 - _SAFETY_MARGIN)
        self._turn_ends_at = boot_seconds() + _LONGEST_HAND_OFF_SECONDS

    def permit(self) -> None:
        """Raise LeaseLost when nothing more may leave: the lease could have run out, or the turn is over."""
        if boot_seconds() >= self._lease_ends_at:
            raise LeaseLost("the lease on this batch could have run out; it is left to the next run")
        if boot_seconds() >= self._turn_ends_at:
            raise TimeIsUp("this hand-off has taken its time; what has not left yet leaves with a batch of its own")
        if self._stop.is_set():
            raise LeaseLost("the run is being stopped; what has not left yet stays pending")
