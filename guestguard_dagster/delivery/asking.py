"""Which runs to ask for: messages that are due together share one run, and event runs always find a free slot."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from guestguard_dagster.storage.asks import Ask

_NARROWEST = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class RunAsk:
    """One run to launch. `key` is the same for the same asks, and for no others."""

    key: str
    message_ids: tuple[UUID, ...]
    event_ids: tuple[UUID, ...]
    due_at: datetime


def group_into_runs(asks: Sequence[Ask], *, free_slots: int) -> list[RunAsk]:
    """Group by due instant, a couple of seconds wide; wider only when that would exceed the free slots.

    A wide group costs no punctuality: its run claims each message at its own instant.
    """
    width = _NARROWEST
    groups = _group(asks, width)
    while len(groups) > max(free_slots, 1):
        width *= 2
        groups = _group(asks, width)
    return [_run_ask(group) for group in groups]


def _group(asks: Sequence[Ask], width: timedelta) -> list[list[Ask]]:
    groups: list[list[Ask]] = []
    for ask in sorted(asks, key=lambda ask: (ask.due_at, ask.message_id)):
        if groups and ask.due_at - groups[-1][0].due_at <= width:
            groups[-1].append(ask)
        else:
            groups.append([ask])
    return groups


def _run_ask(group: Sequence[Ask]) -> RunAsk:
    told = "\n".join(sorted(f"{ask.message_id}:{ask.ask_no}" for ask in group))
    return RunAsk(
        key=hashlib.sha256(told.encode()).hexdigest(),
        message_ids=tuple(ask.message_id for ask in group),
        event_ids=tuple(dict.fromkeys(ask.event_id for ask in group)),
        due_at=group[0].due_at,
    )
