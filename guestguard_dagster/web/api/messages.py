"""An event's messages: compose, edit, send, stop, and follow."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Response

from guestguard_dagster.domain.deliveries import RetryFilter
from guestguard_dagster.domain.messages import (
    HoldOwner,
    Message,
    MessageAudience,
    MessageChanges,
    MessageChannel,
    MessageDraft,
    MessageStatus,
)
from guestguard_dagster.storage.errors import MessageNotFound, MessageNotHoldable
from guestguard_dagster.web.access import AppServices, Editor, EventAccess, Viewer
from guestguard_dagster.web.api.message_schemas import (
    MOST_VERSIONS,
    EditMode,
    MessageDetail,
    MessageEdit,
    MessageOut,
    MessagePage,
    NewMessage,
    RecipientCountOut,
    RetryOut,
    RetryRequest,
    RunLink,
    SendMode,
    SendNow,
    UnreachableOut,
    progress_out,
)
from guestguard_dagster.web.api.values import LARGEST_PAGE
from guestguard_dagster.web.idempotency import IdempotentRoute
from guestguard_dagster.web.limits import writes
from guestguard_dagster.web.problems import ApiProblem, FieldProblem, problems
from guestguard_dagster.web.services import Services

_MOST_NAMED = 50
# A browser's clock differs a little from ours: a time that has just passed means now.
_JUST_PASSED = timedelta(minutes=2)
_ETAG = re.compile(r'(?:W/)?"?(\d{1,10})"?')
_STATUS_OF_MODE = {EditMode.DRAFT: MessageStatus.DRAFT, EditMode.SCHEDULE: MessageStatus.SCHEDULED}

router = APIRouter(prefix="/events/{event_id}/messages", tags=["messages"], route_class=IdempotentRoute)

MessageId = Annotated[UUID, Path(description="the message's id")]


@router.get("", responses=problems(404))
def list_messages(
    access: Viewer,
    services: AppServices,
    status: Annotated[list[MessageStatus] | None, Query(description="only these; else all")] = None,
    order: Annotated[Literal["soonest", "latest"], Query(description="by send_at")] = "soonest",
    after: Annotated[UUID | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 100,
) -> MessagePage:
    """The event's messages, page by page, with how their recipients stand."""
    found = services.messages.list_by_event(
        access.event.id,
        statuses=status or tuple(MessageStatus),
        after=after,
        limit=limit,
        latest_first=order == "latest",
    )
    stats = services.messages.delivery_stats([message.id for message in found])
    return MessagePage(
        items=[MessageOut.of(message, stats[message.id]) for message in found],
        next=found[-1].id if len(found) == limit else None,
    )


@router.post("", status_code=201, responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def create_message(access: Editor, services: AppServices, new: NewMessage) -> MessageOut:
    """Write a broadcast: as a draft, scheduled, or to be sent now (it starts within about 40 seconds)."""
    _require_not_past(services, new.send_at)
    draft = MessageDraft(
        event_id=access.event.id,
        channel=new.channel,
        audience=new.audience,
        subject=new.subject,
        body=new.body,
        send_at=services.database.now() if new.mode is SendMode.SEND_NOW else new.send_at,
        status=MessageStatus.DRAFT if new.mode is SendMode.DRAFT else MessageStatus.SCHEDULED,
        created_by=access.caller.user.id,
        survives_event_cancel=new.survives_event_cancel,
    )
    return MessageOut.of(services.messages.create(draft), None)


@router.get("/recipient-count", responses=problems(404))
def count_recipients(
    access: Viewer,
    services: AppServices,
    audience: MessageAudience = MessageAudience.EVERYONE,
    channel: MessageChannel = MessageChannel.EMAIL,
) -> RecipientCountOut:
    """How many guests would receive a message now, and who would not: no address, or suppressed."""
    number = services.senders.sending_number
    count = services.messages.count_recipients(access.event.id, audience, channel, sending_number=number)
    left_out = services.delivery_log.unreachable(
        access.event.id, audience, channel, sending_number=number, limit=_MOST_NAMED
    )
    return RecipientCountOut(
        audience=audience,
        channel=channel,
        total=count.total,
        reachable=count.reachable,
        without_address=count.without_address,
        suppressed=count.suppressed,
        guests_without_address=[UnreachableOut.model_validate(guest) for guest in left_out.without_address],
        suppressed_guests=[UnreachableOut.model_validate(guest) for guest in left_out.suppressed],
        provider=services.senders.for_channel(channel).provider,
    )


@router.get("/{message_id}", responses=problems(404))
def read_message(access: Viewer, services: AppServices, message_id: MessageId, response: Response) -> MessageDetail:
    """One message, with progress, rate and time left while it is sending. Its ETag is its version."""
    message = _message(services, access, message_id)
    response.headers["ETag"] = _etag(message)
    detail = MessageDetail(**dict(_with_outcomes(services, message)))
    if message.status is MessageStatus.SENDING:
        detail.progress = progress_out(services.delivery_log.progress_of(message_id))
    if access.caller.is_operator:
        detail.runs = [_run_link(services, run_id) for run_id in services.runs.runs_of(message_id)]
    return detail


@router.patch("/{message_id}", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def edit_message(
    access: Editor,
    services: AppServices,
    message_id: MessageId,
    edit: MessageEdit,
    response: Response,
    if_match: Annotated[str | None, Header(description="the ETag that the editor saw, in place of `version`")] = None,
) -> MessageOut:
    """Change a draft or scheduled message. Refused once it is sending or cancelled, or when it is not as expected."""
    _message(services, access, message_id)
    expected = edit.version if if_match is None else _version_of(if_match)
    _require_not_past(services, edit.send_at)
    changes = MessageChanges(
        channel=edit.channel,
        audience=edit.audience,
        subject=edit.subject,
        body=edit.body,
        send_at=edit.send_at,
        status=None if edit.mode is None else _STATUS_OF_MODE[edit.mode],
        survives_event_cancel=edit.survives_event_cancel,
    )
    edited = services.messages.update(message_id, changes, expected_version=expected)
    response.headers["ETag"] = _etag(edited)
    return MessageOut.of(edited, None)


@router.delete("/{message_id}", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def cancel_message(access: Editor, services: AppServices, message_id: MessageId) -> MessageOut:
    """Cancel a draft or scheduled message. It stays on record as cancelled."""
    _message(services, access, message_id)
    return MessageOut.of(services.messages.cancel(message_id), None)


@router.post("/{message_id}/send-now", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def send_now(access: Editor, services: AppServices, message_id: MessageId, wish: SendNow | None = None) -> MessageOut:
    """Let a draft or scheduled message leave now: within about 40 seconds, and it can be cancelled until then.

    One that is on hold is refused (`message_held`): it would not leave. Resume it first.
    """
    _message(services, access, message_id)
    version = wish.version if wish else None
    return MessageOut.of(services.messages.promote_to_scheduled(message_id, expected_version=version), None)


@router.post("/{message_id}/stop", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def stop_message(access: Editor, services: AppServices, message_id: MessageId) -> MessageOut:
    """Stop a sending message: what has not left yet waits until somebody resumes it. Stopping twice changes nothing."""
    message = _message(services, access, message_id)
    if message.status is not MessageStatus.SENDING:
        raise MessageNotHoldable(message_id, message.status)
    by = HoldOwner.OPERATOR if access.caller.is_operator else HoldOwner.HOST
    services.messages.hold([message_id], reason=f"stopped by {access.caller.user.name}", by=by)
    return _with_outcomes(services, _message(services, access, message_id))


@router.post("/{message_id}/resume", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def resume_message(access: Editor, services: AppServices, message_id: MessageId) -> MessageOut:
    """Let a stopped message go on."""
    _message(services, access, message_id)
    return _with_outcomes(services, services.messages.resume(message_id))


@router.post("/{message_id}/retry-failed", responses=problems(403, 404, 409), dependencies=[Depends(writes)])
def retry_failed(
    access: Editor, services: AppServices, message_id: MessageId, which: RetryRequest | None = None
) -> RetryOut:
    """Try the failed recipients again that can be: not those whom a provider refused for good.

    Refused (`message_too_late`) when nothing would leave any more: the event has started, or a reminder's words no
    longer hold.
    """
    which = which or RetryRequest()
    _message(services, access, message_id)
    if which.unknown_too and not access.caller.is_operator:
        raise ApiProblem(403, "operators_only", "only an operator can decide that a guest may get a message twice")
    classes = frozenset(which.error_classes) if which.error_classes is not None else None
    reopened = services.messages.retry_failed(message_id, RetryFilter(classes, which.unknown_too))
    message = _message(services, access, message_id)
    return RetryOut(reopened=reopened, message=_with_outcomes(services, message))


def present_message(services: Services, message_id: UUID) -> Mapping[str, Any]:
    """How a message stands now, as a conflict tells it."""
    return MessageOut.of(services.messages.get(message_id), None).model_dump(mode="json")


def _message(services: Services, access: EventAccess, message_id: UUID) -> Message:
    """The message, if it is this event's. Raises MessageNotFound."""
    message = services.messages.get(message_id)
    if message.event_id != access.event.id:
        raise MessageNotFound(message_id)
    return message


def _require_not_past(services: Services, send_at: datetime | None) -> None:
    if send_at is not None and send_at < services.database.now() - _JUST_PASSED:
        wrong = FieldProblem(field="send_at", message="lies in the past; choose a later time, or send now")
        raise ApiProblem(
            422, "send_at_past", "send_at lies in the past; choose a later time, or send now", errors=[wrong]
        )


def _with_outcomes(services: Services, message: Message) -> MessageOut:
    return MessageOut.of(message, services.messages.delivery_stats([message.id])[message.id])


def _run_link(services: Services, run_id: str) -> RunLink:
    base = services.settings.dagster_url
    return RunLink(run_id=run_id, url=f"{base.rstrip('/')}/runs/{run_id}" if base else None)


def _etag(message: Message) -> str:
    return f'"{message.version}"'


def _version_of(if_match: str) -> int | None:
    """The version that If-Match names; None for *, which any version matches."""
    if if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    version = int(found.group(1)) if found else 0
    if not 1 <= version <= MOST_VERSIONS:
        raise ApiProblem(422, "invalid", "If-Match takes the ETag of this message, or *; read the message again")
    return version
