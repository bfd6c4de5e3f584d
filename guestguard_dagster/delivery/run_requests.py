"""Which runs to request: messages that are due together share one, what crashed travels alone, and event runs always
find a free slot."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.run_requests import LOOK_AHEAD, Ask, AskRepo, ChannelPause

_NARROWEST = timedelta(seconds=2)
# Beyond this many messages, a run shares them with others as long as slots are free.
_COMFORTABLE = 500
# What is due is looked up, and requested, in pieces of this size.
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class RunAsk:
    """One run to launch. `key` is the same for the same asks, and for no others."""

    key: str
    message_ids: tuple[UUID, ...]
    event_ids: tuple[UUID, ...]
    due_at: datetime


def request_runs(
    messages: MessageRepo, asks: AskRepo, pauses: Mapping[MessageChannel, ChannelPause], *, most: int
) -> list[Ask]:
    """Request a run for what is due soon or was left unfinished, for about `most` messages at once; two callers never
    get the same one. Messages of a paused channel wait, but for one that may probe.
    """
    taken = asks.take(asks.defer_paused(pauses))
    channels = [channel for channel in MessageChannel if channel not in pauses]

    def due() -> Collection[UUID]:
        found = messages.list_due(lookahead=LOOK_AHEAD, limit=_PAGE, channels=channels, only_without_run=True)
        return [message.id for message in found]

    def unfinished() -> Collection[UUID]:
        return messages.list_unfinished(limit=_PAGE, channels=channels)

    for look in (unfinished, due):
        taken += _take_page_by_page(asks, look, most=most - len(taken))
    return taken


def group_into_runs(asks: Sequence[Ask], *, free_slots: int) -> list[RunAsk]:
    """Group by due instant, a couple of seconds wide; wider only when that would exceed the free slots, and narrower
    where a run would get very many messages while slots are free.

    A wide group costs no punctuality: its run claims each message at its own instant. Messages whose run crashed travel
    alone, or, when they are more than the slots, spread evenly over them: so one that crashes its run is found in a
    few rounds, and a machine that was restarted does not ask for hundreds of runs.
    """
    slots = max(free_slots, 1)
    crashed = [ask for ask in asks if ask.ran_out]
    fresh = [ask for ask in asks if not ask.ran_out]
    if slots == 1:
        crashed, fresh = [], list(asks)
    alone = _spread(crashed, min(slots - 1 if fresh else slots, len(crashed)))
    width = _NARROWEST
    groups = _group(fresh, width)
    while len(groups) > slots - len(alone):
        width *= 2
        groups = _group(fresh, width)
    while groups and len(alone) + len(groups) < slots and len(largest := max(groups, key=len)) > _COMFORTABLE:
        groups.remove(largest)
        groups += _spread(largest, 2)
    return sorted((_run_ask(group) for group in [*alone, *groups]), key=lambda run: (run.due_at, run.key))


def _take_page_by_page(asks: AskRepo, look: Callable[[], Collection[UUID]], *, most: int) -> list[Ask]:
    taken: list[Ask] = []
    while len(taken) < most:
        page = look()
        new = asks.take(page)
        taken += new
        if not new or len(page) < _PAGE:
            break
    return taken


def _spread(asks: Sequence[Ask], groups: int) -> list[list[Ask]]:
    ordered = sorted(asks, key=_by_instant)
    return [ordered[number::groups] for number in range(groups)]


def _group(asks: Sequence[Ask], width: timedelta) -> list[list[Ask]]:
    groups: list[list[Ask]] = []
    for ask in sorted(asks, key=_by_instant):
        if groups and ask.due_at - groups[-1][0].due_at <= width:
            groups[-1].append(ask)
        else:
            groups.append([ask])
    return groups


def _by_instant(ask: Ask) -> tuple[datetime, UUID]:
    return ask.due_at, ask.message_id


def _run_ask(group: Sequence[Ask]) -> RunAsk:
    told = "\n".join(sorted(f"{ask.message_id}:{ask.ask_no}" for ask in group))
    return RunAsk(
        key=hashlib.sha256(told.encode()).hexdigest(),
        message_ids=tuple(ask.message_id for ask in group),
        event_ids=tuple(dict.fromkeys(ask.event_id for ask in group)),
        due_at=group[0].due_at,
    )
