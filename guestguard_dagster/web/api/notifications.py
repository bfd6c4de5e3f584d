"""An event's notifications: mails that answered to something that happened, and events that needed none."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.notifications import NotificationStatus
from guestguard_dagster.notifications.registry import LABELS, TYPES
from guestguard_dagster.storage.notifications.repo import Notification
from guestguard_dagster.web.access import AppServices, Editor
from guestguard_dagster.web.api.values import LARGEST_PAGE, Answer
from guestguard_dagster.web.problems import problems

router = APIRouter(prefix="/events/{event_id}/notifications", tags=["notifications"])


class NotificationOut(Answer):
    """`status` is that of its mail; `duplicate` and `skipped` ones had none. `happened_at` is when NATS stored it."""

    id: UUID
    type: Annotated[str, Field(json_schema_extra={"enum": list(TYPES)})]
    label: str
    guest_id: UUID | None
    guest_name: str | None
    channel: MessageChannel
    status: NotificationStatus
    reason: str | None
    error: str | None
    duplicate_of: UUID | None
    happened_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, notification: Notification, guest_name: str | None) -> "NotificationOut":
        return cls.made_of(
            notification,
            label=LABELS[notification.type],
            guest_name=guest_name,
            happened_at=notification.published_at,
        )


class NotificationPage(BaseModel):
    items: list[NotificationOut]
    next: UUID | None = Field(description="the `after` of the next page; null when this is the last one")


@router.get("", responses=problems(403, 404))
def list_notifications(
    access: Editor,
    services: AppServices,
    after: Annotated[UUID | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 100,
) -> NotificationPage:
    """The event's notifications of every type, the newest first."""
    found = services.notifications.list_by_event(access.event.id, after=after, limit=limit, latest_first=True)
    names = services.guests.names_of([each.guest_id for each in found if each.guest_id])
    return NotificationPage(
        items=[NotificationOut.of(each, names.get(each.guest_id) if each.guest_id else None) for each in found],
        next=found[-1].id if len(found) == limit else None,
    )
