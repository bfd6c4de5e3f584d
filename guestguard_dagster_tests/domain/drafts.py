"""Events and messages as readers see them, without a database, for the tests of pure rules."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import Message, MessageDraft, MessageStatus

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def an_event(starts_at: datetime, timezone: str = "UTC", **fields: Any) -> Event:
    event = Event(
        id=UUID(int=1),
        name="Garden Party",
        venue="Rose Garden, Main Street 1",
        starts_at=starts_at,
        ends_at=None,
        timezone=timezone,
        phone_region=None,
        cancelled_at=None,
        created_at=LONG_AGO,
        updated_at=LONG_AGO,
    )
    return replace(event, **fields)


def a_message(draft: MessageDraft, **fields: Any) -> Message:
    """The row that storage makes of a draft."""
    message = Message(
        id=uuid4(),
        event_id=draft.event_id,
        kind=draft.kind,
        channel=draft.channel,
        audience=draft.audience,
        subject=draft.subject,
        body=draft.body,
        status=MessageStatus.SCHEDULED,
        status_reason=None,
        send_at=draft.send_at,
        send_at_is_custom=False,
        survives_event_cancel=False,
        created_by=None,
        version=1,
        ask_no=0,
        asked_until=None,
        not_before=None,
        waiting_reason=None,
        held_at=None,
        held_by=None,
        held_reason=None,
        audience_frozen_at=None,
        recipient_count=None,
        preflighted_at=None,
        started_at=None,
        finished_at=None,
        created_at=LONG_AGO,
        updated_at=LONG_AGO,
    )
    return replace(message, **fields)
