"""Events: created with their reminders, moved with them, cancelled with what is not sent; and how their mails look."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from guestguard_dagster.domain.events import CollaboratorRole, EventBranding, EventDraft
from guestguard_dagster.web.access import AppServices, Editor, Owner, SignedIn, Viewer
from guestguard_dagster.web.api.event_schemas import BrandingValues, EventEdit, EventOut, EventPage, NewEvent
from guestguard_dagster.web.api.values import LARGEST_PAGE
from guestguard_dagster.web.idempotency import IdempotentRoute
from guestguard_dagster.web.limits import writes
from guestguard_dagster.web.problems import ApiProblem, FieldProblem, problems

router = APIRouter(prefix="/events", tags=["events"], route_class=IdempotentRoute)


@router.get("", responses=problems())
def list_events(
    caller: SignedIn,
    services: AppServices,
    after: Annotated[UUID | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 100,
) -> EventPage:
    """The caller's events, the latest start first."""
    found = services.access.events_for(caller.user.id, after=after, limit=limit)
    return EventPage(
        items=[EventOut.of(event, role) for event, role in found],
        next=found[-1][0].id if len(found) == limit else None,
    )


@router.post("", status_code=201, responses=problems(403, 409), dependencies=[Depends(writes)])
def create_event(caller: SignedIn, services: AppServices, new: NewEvent) -> EventOut:
    """Create an event with its four reminders. The caller becomes its owner."""
    event = services.events.create(_fitting(new.draft), caller.user.id)
    return EventOut.of(event, CollaboratorRole.OWNER)


@router.get("/{event_id}", responses=problems(404))
def read_event(access: Viewer) -> EventOut:
    """One event, and the caller's role on it."""
    return EventOut.of(access.event, access.role)


@router.patch("/{event_id}", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def edit_event(access: Editor, services: AppServices, edit: EventEdit) -> EventOut:
    """Change an event. A new start or zone moves its unsent reminders along."""
    draft = _fitting(lambda: edit.draft_for(access.event))
    event = services.events.update(access.event.id, draft, seen_updated_at=edit.updated_at)
    return EventOut.of(event, access.role)


@router.post("/{event_id}/cancel", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def cancel_event(access: Owner, services: AppServices) -> EventOut:
    """Cancel an event, its reminders, and its broadcasts but for those that are meant to survive this."""
    return EventOut.of(services.events.cancel(access.event.id), access.role)


@router.get("/{event_id}/branding", responses=problems(404))
def read_branding(access: Viewer) -> BrandingValues:
    """How the event's mails look."""
    return BrandingValues.of(access.event)


@router.put("/{event_id}/branding", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def change_branding(access: Editor, services: AppServices, values: BrandingValues) -> BrandingValues:
    """Let mails that leave from now on look like this."""
    services.events.set_branding(access.event.id, EventBranding(**values.model_dump()))
    return values


def _fitting(make: Callable[[], EventDraft]) -> EventDraft:
    """The draft, if its fields fit together. Raises ApiProblem 422 with the rule's own sentence."""
    try:
        return make()
    except ValueError as problem:
        errors = [FieldProblem(field="body", message=str(problem))]
        raise ApiProblem(422, "invalid", str(problem), errors=errors) from None
