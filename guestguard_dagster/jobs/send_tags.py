"""How a send run names its messages and events: one tag each up to a limit, so that the run list can be filtered."""

from collections.abc import Sequence
from uuid import UUID

MESSAGE_TAG = "guestguard.message/"
EVENT_TAG = "guestguard.event/"

# Beyond this many, the run's metadata has the table; a run with thousands of tags would slow every page.
MOST_TAGS = 50


def send_tags(message_ids: Sequence[UUID], event_ids: Sequence[UUID]) -> dict[str, str]:
    """One tag per message and event, each under its own key; none of a kind that has too many."""
    tags = {"guestguard/messages": str(len(message_ids))}
    for prefix, ids in ((MESSAGE_TAG, message_ids), (EVENT_TAG, event_ids)):
        if len(ids) <= MOST_TAGS:
            tags |= {f"{prefix}{id}": "yes" for id in ids}
    return tags
