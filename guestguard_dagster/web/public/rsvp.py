"""The RSVP page: where the link in a mail leads. Opening it changes nothing; answering does."""

from typing import Annotated
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.previews.previews import PREVIEW_TOKEN
from guestguard_dagster.storage.errors import Refused
from guestguard_dagster.storage.people.rsvps import Invitation
from guestguard_dagster.web.access import AppServices
from guestguard_dagster.web.forms import form_fields
from guestguard_dagster.web.limits import reserve_answer
from guestguard_dagster.web.problems import public_problems
from guestguard_dagster.web.public.layout import form, guest_page, html, html_or_problem
from guestguard_dagster.web.services import Services

MOST_PLUS_ONES = 10
_ANSWERS = {RsvpStatus.ATTENDING: "Yes, I will be there", RsvpStatus.MAYBE: "Maybe", RsvpStatus.DECLINED: "No, sorry"}

_UNKNOWN = html("the link opens nothing")
_PLUS_ONES = {"type": "integer", "minimum": 0, "maximum": MOST_PLUS_ONES}

Token = Annotated[str, Path(max_length=200, description="the secret part of a guest's link")]


def make_router(rsvp_path: str) -> APIRouter:
    """The page below the path that the links in mails have (settings.rsvp_path)."""
    router = APIRouter(tags=["guests' pages"], default_response_class=HTMLResponse)
    address = f"/{rsvp_path.strip('/')}/{{rsvp_token}}"
    router.add_api_route(address, show_rsvp, methods=["GET"], responses={**public_problems(), 404: _UNKNOWN})
    router.add_api_route(
        address,
        answer_rsvp,
        methods=["POST"],
        status_code=303,
        response_class=RedirectResponse,
        responses={
            **public_problems(429),
            303: {"description": "the answer is written down; see the page again"},
            404: _UNKNOWN,
            409: html("the event takes no answers (any more)"),
            422: html_or_problem(422, "the answer cannot be understood"),
        },
        openapi_extra={"requestBody": form(answer={"enum": list(_ANSWERS)}, plus_ones=_PLUS_ONES)},
    )
    return router


def show_rsvp(request: Request, services: AppServices, rsvp_token: Token) -> Response:
    """The event and the choices. Nothing is changed by looking."""
    if rsvp_token == PREVIEW_TOKEN:
        return guest_page("sample.html", None, what="RSVP page")
    invitation = services.rsvps.by_token(rsvp_token)
    if invitation is None:
        return _not_found()
    return _rsvp_page(invitation, saved="saved" in request.query_params)


async def answer_rsvp(request: Request, services: AppServices, rsvp_token: Token) -> Response:
    """Answer, or change the answer."""
    fields = await form_fields(request)
    return await run_sync(_answer, services, rsvp_token, fields)


def _answer(services: Services, rsvp_token: str, fields: dict[str, str]) -> Response:
    invitation = services.rsvps.by_token(rsvp_token)
    if invitation is None:
        return _not_found()
    reserve_answer(services.rates, invitation.guest.id)
    status = _status(fields.get("answer", ""))
    plus_ones = _plus_ones(fields.get("plus_ones", "0"))
    if status is None or plus_ones is None:
        too_many = f"Please say how many come along, {MOST_PLUS_ONES} at most."
        problem = "Please choose one of the answers." if status is None else too_many
        return _rsvp_page(invitation, status=422, problem=problem)
    try:
        come_along = plus_ones if status is not RsvpStatus.DECLINED else 0
        if services.rsvps.answer(invitation.guest.id, status, come_along):
            services.publisher.wake()
    except Refused:
        # The page says what it is that keeps the guest from answering.
        return _rsvp_page(services.rsvps.by_token(rsvp_token) or invitation, status=409)
    path = services.settings.rsvp_path.strip("/")
    return RedirectResponse(f"/{path}/{quote(rsvp_token, safe='')}?saved=yes", status_code=303)


def _status(answer: str) -> RsvpStatus | None:
    return next((status for status in _ANSWERS if status == answer), None)


def _plus_ones(text: str) -> int | None:
    text = text.strip() or "0"
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= MOST_PLUS_ONES else None


def _rsvp_page(
    invitation: Invitation, *, status: int = 200, saved: bool = False, problem: str | None = None
) -> Response:
    return guest_page(
        "rsvp.html",
        invitation,
        status=status,
        guest=invitation.guest,
        event=invitation.event,
        answers=[(choice.value, label) for choice, label in _ANSWERS.items()],
        most_plus_ones=MOST_PLUS_ONES,
        takes_answers=invitation.takes_answers,
        is_over=invitation.is_over,
        saved=saved and invitation.guest.responded_at is not None,
        problem=problem,
    )


def _not_found() -> Response:
    return guest_page("not_found.html", None, status=404)
