"""An event's guests: one by one, as a file, and what each of them was ever sent."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from guestguard_dagster.domain.events import Guest, GuestDraft
from guestguard_dagster.domain.messages import MessageAudience
from guestguard_dagster.storage.errors import EventCancelled, GuestNotFound
from guestguard_dagster.web.access import AppServices, Editor, EventAccess
from guestguard_dagster.web.api.event_schemas import GuestEdit, GuestOut, GuestPage, ImportOut, NewGuest
from guestguard_dagster.web.api.guest_file import GuestFile, read_guest_file
from guestguard_dagster.web.api.message_schemas import SentOut, SentPage
from guestguard_dagster.web.api.values import LARGEST_PAGE
from guestguard_dagster.web.idempotency import IdempotentRoute
from guestguard_dagster.web.limits import writes
from guestguard_dagster.web.problems import ApiProblem, problems
from guestguard_dagster.web.services import Services

_CSV = "text/csv"

router = APIRouter(prefix="/events/{event_id}/guests", tags=["guests"], route_class=IdempotentRoute)

GuestId = Annotated[UUID, Path(description="the guest's id")]


@router.get("", responses=problems(403, 404))
def list_guests(
    access: Editor,
    services: AppServices,
    audience: MessageAudience = MessageAudience.EVERYONE,
    after: Annotated[UUID | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 100,
) -> GuestPage:
    """The guests on the list, in the order they were added."""
    found = services.guests.list_by_event(access.event.id, audience=audience, after=after, limit=limit)
    return GuestPage(
        items=[GuestOut.model_validate(guest) for guest in found], next=found[-1].id if len(found) == limit else None
    )


@router.post("", status_code=201, responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def add_guest(access: Editor, services: AppServices, new: NewGuest) -> GuestOut:
    """Put one guest on the list."""
    _require_not_cancelled(access)
    draft = GuestDraft(new.name, new.email, new.phone, new.rsvp_status)
    added = services.guests.add_new(access.event.id, [draft])
    if not added:
        raise ApiProblem(409, "guest_exists", "a guest with this email address is on the list already")
    return GuestOut.model_validate(added[0])


async def _posted_file(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _CSV:
        raise ApiProblem(415, "unsupported_media_type", f"send the file as the body, with Content-Type: {_CSV}")
    return await request.body()


@router.post(
    "/import",
    status_code=201,
    responses=problems(403, 404, 409, 415),
    dependencies=[Depends(writes)],
    openapi_extra={"requestBody": {"required": True, "content": {_CSV: {"schema": {"type": "string"}}}}},
)
def import_guests(access: Editor, services: AppServices, content: Annotated[bytes, Depends(_posted_file)]) -> ImportOut:
    """Add the guests of a CSV file: all of them, or, when any line cannot be used, none.

    The first line names the columns: `name`, and any of `email`, `phone`, `rsvp`. Guests whose email address is on the
    list already stay as they are.
    """
    _require_not_cancelled(access)
    file = read_guest_file(content, access.event.phone_region)
    added = services.guests.add_new(access.event.id, file.drafts)
    return _imported(file, added)


@router.patch("/{guest_id}", responses=problems(403, 404), dependencies=[Depends(writes)])
def correct_guest(access: Editor, services: AppServices, guest_id: GuestId, edit: GuestEdit) -> GuestOut:
    """Correct a guest's name and addresses. What leaves from now on goes there."""
    guest = _guest(services, access, guest_id)
    given = edit.model_fields_set
    corrected = services.guests.correct(
        guest_id,
        name=edit.name or guest.name,
        email=edit.email if "email" in given else guest.email,
        phone=edit.phone if "phone" in given else guest.phone,
    )
    return GuestOut.model_validate(corrected)


@router.delete("/{guest_id}", responses=problems(403, 404), dependencies=[Depends(writes)])
def remove_guest(access: Editor, services: AppServices, guest_id: GuestId) -> GuestOut:
    """Take a guest off the list. What was sent to them stays on record."""
    _guest(services, access, guest_id)
    services.guests.remove(guest_id)
    return GuestOut.model_validate(services.guests.get(guest_id))


@router.get("/{guest_id}/messages", responses=problems(403, 404))
def read_guest_history(
    access: Editor,
    services: AppServices,
    guest_id: GuestId,
    after: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 100,
) -> SentPage:
    """Everything that was ever sent to a guest, with its outcome, the newest first."""
    _guest(services, access, guest_id)
    found = services.delivery_log.sent_to_guest(guest_id, after=after, limit=limit)
    return SentPage(
        items=[SentOut.of(sent) for sent in found],
        next=found[-1].delivery_id if len(found) == limit else None,
    )


def _imported(file: GuestFile, added: list[Guest]) -> ImportOut:
    return ImportOut(
        imported=len(added),
        already_there=len(file.drafts) - len(added),
        ignored_columns=file.ignored_columns,
        guests=[GuestOut.model_validate(guest) for guest in added[:LARGEST_PAGE]],
    )


def _guest(services: Services, access: EventAccess, guest_id: UUID) -> Guest:
    """The guest, if they are this event's. Raises GuestNotFound."""
    guest = services.guests.get(guest_id)
    if guest.event_id != access.event.id:
        raise GuestNotFound(guest_id)
    return guest


def _require_not_cancelled(access: EventAccess) -> None:
    if access.event.cancelled_at is not None:
        raise EventCancelled(access.event.id)
