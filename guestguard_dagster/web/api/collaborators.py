"""Who works on an event: its owner, editors and viewers. The owner decides."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path

from guestguard_dagster.domain.events import Collaborator, CollaboratorRole
from guestguard_dagster.storage.errors import CollaboratorNotFound, OwnerStays
from guestguard_dagster.web.access import AppServices, EventAccess, Owner, Viewer
from guestguard_dagster.web.api.event_schemas import (
    CollaboratorList,
    CollaboratorOut,
    NewCollaborator,
    RoleChange,
    shortened_name,
)
from guestguard_dagster.web.idempotency import IdempotentRoute
from guestguard_dagster.web.limits import writes
from guestguard_dagster.web.problems import ApiProblem, FieldProblem, problems
from guestguard_dagster.web.services import Services

_MOST_COLLABORATORS = 200

router = APIRouter(prefix="/events/{event_id}/collaborators", tags=["collaborators"], route_class=IdempotentRoute)

UserId = Annotated[UUID, Path(description="the collaborator's user id")]


@router.get("", responses=problems(404))
def list_collaborators(access: Viewer, services: AppServices) -> CollaboratorList:
    """Everybody who works on the event, in the order they joined."""
    found = services.events.collaborators(access.event.id)
    return CollaboratorList(items=[CollaboratorOut.of(each) for each in found])


@router.post("", status_code=201, responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def add_collaborator(access: Owner, services: AppServices, new: NewCollaborator) -> CollaboratorOut:
    """Let somebody work on the event. Somebody who does already gets the new role."""
    _require_below_owner(new.role)
    present = services.events.collaborators(access.event.id)
    if len(present) >= _MOST_COLLABORATORS:
        raise ApiProblem(409, "too_many_collaborators", f"an event has {_MOST_COLLABORATORS} collaborators at most")
    user = services.users.get_or_create(email=new.email, name=new.name or shortened_name(new.email))
    if user.id == access.caller.user.id:
        raise OwnerStays(access.event.id)
    services.events.add_collaborator(access.event.id, user.id, new.role)
    return CollaboratorOut.of(_collaborator(services, access, user.id))


@router.patch("/{user_id}", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def change_role(access: Owner, services: AppServices, user_id: UserId, change: RoleChange) -> CollaboratorOut:
    """Make a collaborator an editor or a viewer."""
    _require_below_owner(change.role)
    services.events.change_role(access.event.id, user_id, change.role)
    return CollaboratorOut.of(_collaborator(services, access, user_id))


@router.delete("/{user_id}", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def remove_collaborator(access: Owner, services: AppServices, user_id: UserId) -> CollaboratorList:
    """Let a collaborator work on the event no more; answers with those who still do."""
    services.events.remove_collaborator(access.event.id, user_id)
    return list_collaborators(access, services)


def _collaborator(services: Services, access: EventAccess, user_id: UUID) -> Collaborator:
    for each in services.events.collaborators(access.event.id):
        if each.user.id == user_id:
            return each
    raise CollaboratorNotFound(access.event.id, user_id)


def _require_below_owner(role: CollaboratorRole) -> None:
    if role is CollaboratorRole.OWNER:
        wrong = FieldProblem(field="role", message="must be editor or viewer: an event has one owner")
        raise ApiProblem(422, "invalid", "role must be editor or viewer: an event has one owner", errors=[wrong])
