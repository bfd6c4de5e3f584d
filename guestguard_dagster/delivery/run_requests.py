"""Which runs to request: messages that are due together share one, what crashed travels alone, and event runs always
find a free slot."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.run_requests import (
    LOOK_AHEAD,
    BlockedChannel,
    MessageRunRequest,
    RunRequestRepo,
)

_NARROWEST = timedelta(seconds=2)
# Beyond this many messages, a run shares them with others as long as slots are free.
_COMFORTABLE = 500
# What is due is looked up, and requested, in pieces of this size.
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class RunToLaunch:
    """One run to launch. `key` is the same for the same requests, and for no others."""

    key: str
    message_ids: tuple[UUID, ...]
    event_ids: tuple[UUID, ...]
    due_at: datetime


def request_runs(
    messages: MessageRepo,
    requests: RunRequestRepo,
    blocked_channels: Mapping[MessageChannel, BlockedChannel],
    *,
    most: int,
) -> list[MessageRunRequest]:
    """Request a run for what is due soon or was left unfinished, for about `most` messages at once; two callers never
    get the same one. Messages of a paused channel wait, but for one that may probe.
    """
    taken = requests.take(requests.defer_blocked(blocked_channels))
    channels = [channel for channel in MessageChannel if channel not in blocked_channels]

    def due() -> Collection[UUID]:
        found = messages.list_due(lookahead=LOOK_AHEAD, limit=_PAGE, channels=channels, only_without_run=True)
        return [message.id for message in found]

    def unfinished() -> Collection[UUID]:
        return messages.list_unfinished(limit=_PAGE, channels=channels)

    for look in (unfinished, due):
        taken += _take_page_by_page(requests, look, most=most - len(taken))
    return taken


def group_into_runs(requests: Sequence[MessageRunRequest], *, free_slots: int) -> list[RunToLaunch]:
    """Group by due instant, a couple of seconds wide; wider only when that would exceed the free slots, and narrower
    where a run would get very many messages while slots are free.

    A wide group costs no punctuality: its run claims each message at its own instant. Messages whose run crashed travel
    alone, or, when they are more than the slots, spread evenly over them: so one that crashes its run is found in a
    few rounds, and a machine that was restarted does not request for hundreds of runs.
    """
    slots = max(free_slots, 1)
    crashed = [request for request in requests if request.ran_out]
    fresh = [request for request in requests if not request.ran_out]
    if slots == 1:
        crashed, fresh = [], list(requests)
    alone = _spread(crashed, min(slots - 1 if fresh else slots, len(crashed)))
    width = _NARROWEST
    groups = _group(fresh, width)
    while len(groups) > slots - len(alone):
        width *= 2
        groups = _group(fresh, width)
    while groups and len(alone) + len(groups) < slots and len(largest := max(groups, key=len)) > _COMFORTABLE:
        groups.remove(largest)
        groups += _spread(largest, 2)
    return sorted((_run_to_launch(group) for group in [*alone, *groups]), key=lambda run: (run.due_at, run.key))


def _take_page_by_page(
    requests: RunRequestRepo, look: Callable[[], Collection[UUID]], *, most: int
) -> list[MessageRunRequest]:
    taken: list[MessageRunRequest] = []
    while len(taken) < most:
        page = look()
        new = requests.take(page)
        taken += new
        if not new or len(page) < _PAGE:
            break
    return taken


def _spread(requests: Sequence[MessageRunRequest], groups: int) -> list[list[MessageRunRequest]]:
    ordered = sorted(requests, key=_by_instant)
    return [ordered[number::groups] for number in range(groups)]


def _group(requests: Sequence[MessageRunRequest], width: timedelta) -> list[list[MessageRunRequest]]:
    groups: list[list[MessageRunRequest]] = []
    for request in sorted(requests, key=_by_instant):
        if groups and request.due_at - groups[-1][0].due_at <= width:
            groups[-1].append(request)
        else:
            groups.append([request])
    return groups


def _by_instant(request: MessageRunRequest) -> tuple[datetime, UUID]:
    return request.due_at, request.message_id


def _run_to_launch(group: Sequence[MessageRunRequest]) -> RunToLaunch:
    identity = "\n".join(sorted(f"{request.message_id}:{request.ask_no}" for request in group))
    return RunToLaunch(
        key=hashlib.sha256(identity.encode()).hexdigest(),
        message_ids=tuple(request.message_id for request in group),
        event_ids=tuple(dict.fromkeys(request.event_id for request in group)),
        due_at=group[0].due_at,
    )
