"""Points of a hand-off at which a worker can be caught: it says that it is there, and waits until it may go on."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

from guestguard_dagster.domain.outcomes import Outcome
from guestguard_dagster.senders.base import HandOff, Permit, RateLimit, Sender

Item = TypeVar("Item")


class Point(StrEnum):
    PREPARED = "prepared"  # the batch is leased, and nothing says that it is about to leave
    BEFORE_CALL = "before_call"  # the batch is `sending`, nothing has left
    PERMITTED = "permitted"  # the lease was looked at for the last time, the bytes have not left
    AFTER_CALL = "after_call"  # the provider has answered, nothing is written down


@dataclass(frozen=True, slots=True)
class Stop:
    """Where to stop, once; the first `passes` times are let by."""

    at: Point
    passes: int = 0


class Gate:
    """The worker's end. Whoever comes while one waits, waits too."""

    def __init__(self, stop: Stop, connection: Connection) -> None:
        self._stop = stop
        self._connection = connection
        self._passes = stop.passes
        self._lock = threading.Lock()
        self._is_open = False

    def reach(self, point: Point) -> None:
        with self._lock:
            if point is not self._stop.at or self._is_open:
                return
            if self._passes > 0:
                self._passes -= 1
                return
            self._connection.send(point)
            self._connection.recv()
            self._is_open = True


class GatedSender(Generic[Item]):
    """A sender that passes the gate before, within and after each hand-off."""

    def __init__(self, sender: Sender[Item], gate: Gate) -> None:
        self._sender = sender
        self._gate = gate

    @property
    def provider(self) -> str:
        return self._sender.provider

    @property
    def account(self) -> str:
        return self._sender.account

    @property
    def batch_size(self) -> int:
        return self._sender.batch_size

    @property
    def repeatable(self) -> bool:
        return self._sender.repeatable

    @property
    def overlaps(self) -> bool:
        return self._sender.overlaps

    @property
    def rate_limit(self) -> RateLimit | None:
        return self._sender.rate_limit

    def prepare(self, items: Sequence[Item]) -> list[HandOff]:
        requests = self._sender.prepare(items)
        self._gate.reach(Point.PREPARED)
        return requests

    def hand_off(self, request: HandOff, permit: Permit) -> list[Outcome | None]:
        def permit_and_stop() -> None:
            permit()
            self._gate.reach(Point.PERMITTED)

        self._gate.reach(Point.BEFORE_CALL)
        outcomes = self._sender.hand_off(request, permit_and_stop)
        self._gate.reach(Point.AFTER_CALL)
        return outcomes

    def close(self) -> None:
        self._sender.close()
