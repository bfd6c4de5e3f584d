"""The unsubscribe page. Opening it changes nothing; posting to it does, also when a mail program posts (RFC 8058)."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Request
from starlette.responses import HTMLResponse, Response

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.suppressions import SuppressionReason, for_host
from guestguard_dagster.previews.previews import PREVIEW_TOKEN
from guestguard_dagster.rendering.links import UNSUBSCRIBE_PATH, read_unsubscribe_token
from guestguard_dagster.storage.people.rsvps import Invitation
from guestguard_dagster.web.access import AppServices
from guestguard_dagster.web.forms import form_fields
from guestguard_dagster.web.limits import reserve_answer
from guestguard_dagster.web.problems import public_problems
from guestguard_dagster.web.public.layout import form, guest_page, html
from guestguard_dagster.web.services import Services

_ADDRESS = UNSUBSCRIBE_PATH + "{unsubscribe_token}"
_SOURCE = "unsubscribe_link"
_UNDO = "undo"

router = APIRouter(tags=["guests' pages"], default_response_class=HTMLResponse)

Token = Annotated[str, Path(max_length=200, description="the signed token of a guest's link")]


@router.get(_ADDRESS, responses={**public_problems(), 404: html("the link opens nothing")})
def show_unsubscribe(services: AppServices, unsubscribe_token: Token) -> Response:
    """Who would send no more mail, and a button. Nothing is changed by looking."""
    if unsubscribe_token == PREVIEW_TOKEN:
        return guest_page("sample.html", None, what="unsubscribe page")
    invitation = _invitation(services, unsubscribe_token)
    return _not_found() if invitation is None else _page(services, invitation)


@router.post(
    _ADDRESS,
    responses={**public_problems(429), 404: html("the link opens nothing")},
    openapi_extra={"requestBody": form(action={"enum": ["unsubscribe", _UNDO]})},
)
async def unsubscribe(request: Request, services: AppServices, unsubscribe_token: Token) -> Response:
    """Unsubscribe from the host's mail; with `action=undo`, take that back. Repeating either changes nothing."""
    fields = await form_fields(request)
    return await run_sync(_act, services, unsubscribe_token, fields.get("action") == _UNDO)


def _act(services: Services, token: str, undo: bool) -> Response:
    invitation = _invitation(services, token)
    if invitation is None:
        return _not_found()
    reserve_answer(services.rates, invitation.guest.id)
    email, scope = invitation.guest.email, for_host(invitation.host.id)
    if email is not None and undo:
        services.suppressions.lift(MessageChannel.EMAIL, email, scope=scope)
    elif email is not None:
        services.suppressions.add(
            MessageChannel.EMAIL, email, scope=scope, reason=SuppressionReason.UNSUBSCRIBE, source=_SOURCE
        )
    return _page(services, invitation, undone=undo)


def _page(services: Services, invitation: Invitation, *, undone: bool = False) -> Response:
    email, scope = invitation.guest.email, for_host(invitation.host.id)
    return guest_page(
        "unsubscribe.html",
        invitation,
        address=_shown(email),
        unsubscribed=email is not None
        and services.suppressions.is_suppressed(MessageChannel.EMAIL, email, scopes=[scope]),
        undone=undone,
    )


def _invitation(services: Services, token: str) -> Invitation | None:
    claim = read_unsubscribe_token(services.settings.require_secret_key(), token)
    invitation = services.rsvps.by_guest(claim.guest_id) if claim else None
    return invitation if invitation and claim and invitation.event.id == claim.event_id else None


def _shown(email: str | None) -> str:
    """Enough to recognise one's own address, too little to learn another's: links are forwarded with their mails."""
    if email is None:
        return "your address"
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}•••@{domain}"


def _not_found() -> Response:
    return guest_page("not_found.html", None, status=404)
