"""Previews and test sends: a message as one guest would get it, before it leaves, saved or as it is being written."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path

from guestguard_dagster.delivery.composing import from_name
from guestguard_dagster.domain.events import User
from guestguard_dagster.domain.messages import Message, MessageAudience, MessageChannel
from guestguard_dagster.domain.suppressions import for_sending_number
from guestguard_dagster.previews.previews import PREVIEW_GUEST, PreviewRefused, Words, render_preview, send_test
from guestguard_dagster.rendering.mail import RenderedMail
from guestguard_dagster.rendering.sms import TextTooLong, sms_segments
from guestguard_dagster.storage.errors import GuestNotFound, MessageNotFound
from guestguard_dagster.web.access import AppServices, Editor, EventAccess
from guestguard_dagster.web.api.message_schemas import (
    PreviewOut,
    PreviewRequest,
    SegmentsOut,
    SendTestOut,
    SendTestRequest,
)
from guestguard_dagster.web.idempotency import IdempotentRoute
from guestguard_dagster.web.limits import sends_at_once, writes
from guestguard_dagster.web.problems import ApiProblem, FieldProblem, problems
from guestguard_dagster.web.services import Services

router = APIRouter(prefix="/events/{event_id}/messages", tags=["previews"], route_class=IdempotentRoute)

MessageId = Annotated[UUID, Path(description="the message's id")]


@router.post("/preview", responses=problems(403, 404), dependencies=[Depends(writes)])
def preview_text(access: Editor, services: AppServices, wish: PreviewRequest) -> PreviewOut:
    """A text as it is being written, as a guest would get it."""
    return _preview(services, access, wish, None)


@router.post("/{message_id}/preview", responses=problems(403, 404), dependencies=[Depends(writes)])
def preview_message(
    access: Editor, services: AppServices, message_id: MessageId, wish: PreviewRequest | None = None
) -> PreviewOut:
    """A saved message, with changes that are not saved yet, as a guest would get it."""
    return _preview(services, access, wish or PreviewRequest(), _message(services, access, message_id))


@router.post("/test-send", responses=problems(403, 404, 409), dependencies=[Depends(writes), Depends(sends_at_once)])
def send_test_of_text(access: Editor, services: AppServices, wish: SendTestRequest) -> SendTestOut:
    """Send a text as it is being written to oneself."""
    return _send_test(services, access, wish, None)


@router.post(
    "/{message_id}/test-send", responses=problems(403, 404, 409), dependencies=[Depends(writes), Depends(sends_at_once)]
)
def send_test_of_message(
    access: Editor, services: AppServices, message_id: MessageId, wish: SendTestRequest | None = None
) -> SendTestOut:
    """Send a saved message, with changes that are not saved yet, to oneself."""
    return _send_test(services, access, wish or SendTestRequest(), _message(services, access, message_id))


def _preview(services: Services, access: EventAccess, wish: PreviewRequest, saved: Message | None) -> PreviewOut:
    guest_name = _guest_name(services, access, wish)
    words = _words(wish, saved)
    rendered = _rendered(services, access, words, guest_name)
    if isinstance(rendered, str):
        return PreviewOut(channel=words.channel, guest_name=guest_name, text=rendered, segments=_segments(rendered))
    return PreviewOut(
        channel=words.channel, guest_name=guest_name, subject=rendered.subject, text=rendered.text, html=rendered.html
    )


def _send_test(services: Services, access: EventAccess, wish: SendTestRequest, saved: Message | None) -> SendTestOut:
    words = _words(wish, saved)
    rendered = _rendered(services, access, words, _guest_name(services, access, wish))
    me, host = access.caller.user, services.events.host_of(access.event.id)
    to = _own_address(services, words.channel, me, wish)
    try:
        outcome = send_test(
            rendered,
            to=to,
            to_name=me.name,
            from_name=from_name(access.event, host, services.senders.from_name),
            installation=services.installation.id,
            senders=services.senders,
            rates=services.rates,
            breakers=services.breakers,
        )
    except PreviewRefused as problem:
        raise ApiProblem(503, "provider_unavailable", str(problem), headers={"Retry-After": "60"}) from None
    return SendTestOut(
        outcome=outcome.outcome,
        provider=services.senders.for_channel(words.channel).provider,
        detail=outcome.detail,
        segments=_segments(rendered) if isinstance(rendered, str) else None,
    )


def _own_address(services: Services, channel: MessageChannel, me: User, wish: SendTestRequest) -> str:
    if channel is MessageChannel.EMAIL:
        address, scopes = me.email, []
    elif wish.phone is None:
        wrong = FieldProblem(field="phone", message="is needed for the test of a text: give your own number")
        raise ApiProblem(422, "invalid", "phone is needed for the test of a text: give your own number", errors=[wrong])
    else:
        number = services.senders.sending_number
        address, scopes = wish.phone, [for_sending_number(number)] if number else []
    if services.suppressions.is_suppressed(channel, address, scopes=scopes):
        raise ApiProblem(409, "suppressed", "your own address is suppressed: it bounced, complained or opted out")
    return address


def _words(wish: PreviewRequest, saved: Message | None) -> Words:
    return Words(
        channel=wish.channel or (saved.channel if saved else MessageChannel.EMAIL),
        audience=wish.audience or (saved.audience if saved else MessageAudience.EVERYONE),
        subject=wish.subject if wish.subject is not None else (saved.subject if saved else ""),
        body=wish.body if wish.body is not None else (saved.body if saved else ""),
    )


def _rendered(services: Services, access: EventAccess, words: Words, guest_name: str) -> RenderedMail | str:
    host = services.events.host_of(access.event.id)
    try:
        return render_preview(words, access.event, host, services.settings, guest_name=guest_name)
    except TextTooLong as problem:
        errors = [FieldProblem(field="body", message=str(problem), line=1)]
        raise ApiProblem(422, "template_refused", str(problem), errors=errors) from None


def _guest_name(services: Services, access: EventAccess, wish: PreviewRequest) -> str:
    if wish.guest_id is None:
        return PREVIEW_GUEST
    guest = services.guests.get(wish.guest_id)
    if guest.event_id != access.event.id:
        raise GuestNotFound(wish.guest_id)
    return guest.name


def _message(services: Services, access: EventAccess, message_id: UUID) -> Message:
    message = services.messages.get(message_id)
    if message.event_id != access.event.id:
        raise MessageNotFound(message_id)
    return message


def _segments(text: str) -> SegmentsOut:
    return SegmentsOut.model_validate(sms_segments(text))
