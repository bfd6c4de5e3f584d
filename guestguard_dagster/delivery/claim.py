"""From `scheduled` to `sending`, at the due instant and not before: until then a host can still edit or cancel."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from uuid import UUID

from guestguard_dagster.delivery.quiet_hours import claim_due
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.departures import Departure
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.messages.run_requests import LOOK_AHEAD

_SHORTEST_WAIT = timedelta(milliseconds=20)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Where a run's messages stand: being sent, waiting for their instant, or not this run's to send.

    `first_due_in` is zero or more, and None when nothing waits.
    """

    sending: tuple[UUID, ...]
    waiting: tuple[UUID, ...]
    left: tuple[UUID, ...]
    first_due_in: timedelta | None


@dataclass(frozen=True, slots=True)
class ClaimReport:
    """`sending` by this run or an earlier one; `waiting` will be claimed when due; `expired` came too late."""

    sending: tuple[UUID, ...]
    waiting: tuple[UUID, ...]
    left: tuple[UUID, ...]
    expired: tuple[UUID, ...]


def claim(sending: SendContext, message_ids: Sequence[UUID], stop: Event) -> ClaimReport:
    """Wait for the first due instant and claim what is due then; `dispatch` claims the rest when it is due."""
    expired: list[UUID] = []
    while True:
        expired += claim_due(sending, message_ids)
        schedule = read_schedule(sending, message_ids)
        if stop.is_set() or schedule.sending or schedule.first_due_in is None:
            break
        sending.run_requests.renew(schedule.waiting)
        stop.wait(min(max(schedule.first_due_in, _SHORTEST_WAIT), sending.pace.look_again).total_seconds())
    return ClaimReport(schedule.sending, schedule.waiting, schedule.left, tuple(expired))


def read_schedule(sending: SendContext, message_ids: Sequence[UUID]) -> Schedule:
    """Read the rows again: a host may have edited, held or cancelled a message while the run waited for it."""
    departures = sending.messages.departures(message_ids)
    being_sent = [id for id, departure in departures.items() if departure.message.status is MessageStatus.SENDING]
    due_in = {id: wait for id, departure in departures.items() if (wait := _due_in(departure)) is not None}
    departing = set(being_sent)
    left = [id for id in message_ids if id not in due_in and id not in departing]
    return Schedule(tuple(being_sent), tuple(due_in), tuple(left), min(due_in.values(), default=None))


def _due_in(departure: Departure) -> timedelta | None:
    """How long until this message may be claimed, or None if it is not this run's to wait for."""
    if not departure.awaits_its_instant or departure.too_late_at(departure.read_at):
        return None
    due_in = departure.leaves_at - departure.read_at
    return due_in if due_in <= LOOK_AHEAD else None
