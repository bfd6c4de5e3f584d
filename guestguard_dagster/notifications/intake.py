"""From events of the stream to rows: read, written down once, and only then acknowledged."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.notifications import Arrival, NotificationType
from guestguard_dagster.domain.payloads import PayloadRefused
from guestguard_dagster.notifications.registry import TYPES, definition_of
from guestguard_dagster.notifications.rules import Rules
from guestguard_dagster.storage.database import DatabaseFailed, DatabaseUnavailable
from guestguard_dagster.storage.notifications.dead_letters import DeadLetter, NewDeadLetter, Selection
from guestguard_dagster.storage.notifications.repo import Fate, Incoming
from guestguard_dagster.streams.messages import StreamMessage

log = logging.getLogger(__name__)

# Doubling from the first: with eight deliveries, an unknown guest has ten minutes to become known.
_FIRST_RETRY = timedelta(seconds=5)
_LONGEST_RETRY = timedelta(minutes=10)

_UNKNOWN = "the event, or the guest on its list, is not known here"


class EventSource(Protocol):
    """Where events come from, and where it is told what became of them."""

    def fetch(self, kind: NotificationType, *, size: int, wait: timedelta) -> list[StreamMessage]: ...

    def settle(
        self,
        *,
        acks: Sequence[StreamMessage] = (),
        terms: Sequence[StreamMessage] = (),
        retries: Sequence[tuple[StreamMessage, timedelta]] = (),
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a group of events. Those in `refused` can never work; `unusable` ones may, later."""

    fates: Counter[Fate] = field(default_factory=Counter)
    done: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    unusable: dict[int, str] = field(default_factory=dict)


def receive(sending: SendContext, rules: Rules, kind: NotificationType, arrivals: Sequence[Arrival]) -> Received:
    """Read these events and write them down. Indices are those of `arrivals`."""
    definition = definition_of(kind)
    received = Received()
    readable: dict[int, Incoming] = {}
    for index, arrival in enumerate(arrivals):
        try:
            payload = definition.payload.read(arrival.data)
        except PayloadRefused as problem:
            received.refused[index] = str(problem)
            continue
        readable[index] = Incoming(
            arrival,
            payload,
            payload.identity(arrival.message_id),
            definition.why_not_needed(payload, rules),
            needs_guest=definition.needs_guest,
        )
    _record(sending, kind, readable, received)
    return received


def receive_from_stream(
    sending: SendContext, source: EventSource, rules: Rules, kind: NotificationType, messages: Sequence[StreamMessage]
) -> Counter[str]:
    """Receive these deliveries; once everything about them is committed, tell the stream. Returns counts for people."""
    arrivals = [message.arrival for message in messages]
    received = receive(sending, rules, kind, arrivals)
    given_up = {
        index: f"{reason}, after {arrivals[index].deliveries} deliveries"
        for index, reason in received.unusable.items()
        if arrivals[index].deliveries >= min(rules.max_deliveries, messages[index].most_deliveries or math.inf)
    }
    dead = dict(sorted((received.refused | given_up).items()))
    sending.dead_letters.add([NewDeadLetter(kind, arrivals[index], reason) for index, reason in dead.items()])
    again = received.unusable.keys() - given_up.keys()
    source.settle(
        acks=[messages[index] for index in received.done],
        terms=[messages[index] for index in dead],
        retries=[(messages[index], retry_delay(arrivals[index].deliveries)) for index in again],
    )
    counts = Counter({str(fate): count for fate, count in received.fates.items()})
    return counts + Counter({"dead_letter": len(dead), "retried_later": len(again)})


def replay(sending: SendContext, rules: Rules, selection: Selection) -> tuple[list[DeadLetter], list[DeadLetter]]:
    """Try dead letters again, the oldest thousand of the selection; returns those used now, and those that stay."""
    letters = sending.dead_letters.open(selection)
    used: list[DeadLetter] = []
    for kind in TYPES:
        mine = [letter for letter in letters if letter.type == kind]
        received = receive(sending, rules, kind, [letter.arrival for letter in mine])
        used += [mine[index] for index in received.done]
        reasons = received.refused | received.unusable
        sending.dead_letters.explain({mine[index].id: reason for index, reason in reasons.items()})
    sending.dead_letters.mark_replayed([letter.id for letter in used])
    return used, [letter for letter in letters if letter not in used]


def retry_delay(deliveries: int) -> timedelta:
    """How long to wait for an unknown guest, after so many deliveries."""
    doubled: timedelta = _FIRST_RETRY * 2 ** min(deliveries - 1, 10)
    return min(doubled, _LONGEST_RETRY)


def _record(sending: SendContext, kind: NotificationType, readable: dict[int, Incoming], received: Received) -> None:
    """Write a group down; one that the database refuses is halved until the one event at fault is found."""
    if not readable:
        return
    indices = list(readable)
    try:
        fates = sending.notifications.record(kind, list(readable.values()))
    except DatabaseUnavailable:
        raise
    except DatabaseFailed as refusal:
        if len(indices) == 1:
            received.unusable[indices[0]] = str(refusal)
            return
        middle = len(indices) // 2
        for half in (indices[:middle], indices[middle:]):
            _record(sending, kind, {index: readable[index] for index in half}, received)
        return
    for index, fate in zip(indices, fates, strict=True):
        received.fates[fate] += 1
        if fate is Fate.RECORDED and (warning := definition_of(kind).warning(readable[index].payload)) is not None:
            log.warning("%s", warning)
        if fate is Fate.UNKNOWN_GUEST:
            received.unusable[index] = _UNKNOWN
        else:
            received.done.append(index)
