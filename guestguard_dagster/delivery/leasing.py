"""How long a process may hand off what it leased, as it can tell without asking the database."""

from datetime import timedelta
from threading import Event

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.senders.base import LeaseLost

LEASE_TIME = timedelta(seconds=60)
# of the lease: room for clocks that run apart, and for the way to the provider
_SAFETY_MARGIN = 1 / 12


class LeaseClock:
    """Started before the lease is written, so it runs out before the database's does, even for a frozen process."""

    def __init__(self, stop: Event, duration: timedelta) -> None:
        self._stop = stop
        self._deadline = boot_seconds() + duration.total_seconds() * (1 - _SAFETY_MARGIN)

    def permit(self) -> None:
        """Raise LeaseLost when nothing more may leave: the lease could have run out, or the run is being stopped."""
        if boot_seconds() >= self._deadline:
            raise LeaseLost("the lease on these deliveries could have run out; they are left to the next run")
        if self._stop.is_set():
            raise LeaseLost("the run is being stopped; what has not left yet stays pending")
