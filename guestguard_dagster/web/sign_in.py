"""Sessions of the page: opened with a token, or by the link of `guestguard up`; closed by signing out."""

import hmac
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from guestguard_dagster.web.access import AppServices, SignedIn
from guestguard_dagster.web.api.values import Body
from guestguard_dagster.web.auth import SESSION_LASTS, Identity, TokenInvalid
from guestguard_dagster.web.forms import form_fields
from guestguard_dagster.web.problems import ApiProblem, problems
from guestguard_dagster.web.services import Services
from guestguard_dagster.web.templating import page

router = APIRouter(tags=["session"])

_ROOT = "/"


class TokenIn(Body):
    token: str = Field(min_length=1, max_length=8_000)


class SessionOut(BaseModel):
    """Who is signed in. `csrf_token` goes along with every change; null for a caller with a bearer token."""

    user_id: UUID
    name: str
    email: str
    is_operator: bool
    csrf_token: str | None


@router.get("/session", responses=problems())
def read_session(caller: SignedIn, services: AppServices) -> SessionOut:
    """Who calls, and the CSRF token of the session."""
    return SessionOut(
        user_id=caller.user.id,
        name=caller.user.name,
        email=caller.user.email,
        is_operator=caller.is_operator,
        csrf_token=services.sessions.csrf_token(caller.session) if caller.session else None,
    )


@router.post("/session", status_code=204, responses=problems(403))
def open_session(request: Request, services: AppServices, given: TokenIn) -> Response:
    """Sign in with a token: sets the session cookie."""
    _require_own_page(request, services)
    response = Response(status_code=204)
    _set_cookie(response, services, _identity_of(services, given.token))
    return response


@router.delete("/session", status_code=204, responses=problems(403))
def close_session(_caller: SignedIn, services: AppServices) -> Response:
    """Sign out: the cookie is deleted."""
    response = Response(status_code=204)
    response.delete_cookie(services.sessions.cookie_name, path=_ROOT, secure=services.sessions.is_secure)
    return response


@router.get("/sign-in", include_in_schema=False)
def show_sign_in(
    services: AppServices,
    key: Annotated[str, Query(max_length=200)] = "",
    goal: Annotated[str, Query(alias="next", max_length=500)] = _ROOT,
) -> Response:
    """The page that says how to sign in; with the key of `guestguard up`, its host is signed in at once."""
    local = services.local_sign_in
    if local is not None and hmac.compare_digest(key.encode("utf-8", "replace"), local.key.encode()):
        return _signed_in(services, Identity(local.user_id, is_operator=True), goal)
    return _sign_in_page(services, goal)


@router.post("/sign-in", include_in_schema=False)
async def sign_in(request: Request, services: AppServices) -> Response:
    """A form with a token, from our own page or from the one where hosts sign in."""
    _require_own_page(request, services)
    fields = await form_fields(request)
    goal = fields.get("next", _ROOT)
    try:
        identity = await run_sync(_identity_of, services, fields.get("token", "").strip())
    except ApiProblem as problem:
        return _sign_in_page(services, goal, problem)
    return _signed_in(services, identity, goal)


def _sign_in_page(services: Services, goal: str, problem: ApiProblem | None = None) -> Response:
    return page(
        "sign_in.html",
        status=problem.status if problem else 200,
        goal=_own_path(goal),
        is_local=services.local_sign_in is not None,
        sign_in_url=services.settings.sign_in_url,
        problem=problem.detail if problem else None,
    )


def _identity_of(services: Services, token: str) -> Identity:
    try:
        identity = services.bearer.identity(token)
    except TokenInvalid as problem:
        raise ApiProblem(401, "not_signed_in", str(problem)) from None
    if services.access.user(identity.user_id) is None:
        raise ApiProblem(401, "not_signed_in", "the token is of a user who does not exist here")
    return identity


def _signed_in(services: Services, identity: Identity, goal: str) -> Response:
    response = RedirectResponse(_own_path(goal), status_code=303)
    _set_cookie(response, services, identity)
    return response


def _set_cookie(response: Response, services: Services, identity: Identity) -> None:
    response.set_cookie(
        services.sessions.cookie_name,
        services.sessions.open(identity.user_id, is_operator=identity.is_operator),
        max_age=int(SESSION_LASTS.total_seconds()),
        path=_ROOT,
        secure=services.sessions.is_secure,
        httponly=True,
        samesite="lax",
    )


def _require_own_page(request: Request, services: Services) -> None:
    """Nobody else's page may sign a browser in, into an account of its own choice."""
    origin = request.headers.get("origin")
    allowed = {f"{request.url.scheme}://{request.url.netloc}", *_origins(services)}
    if origin is not None and origin not in allowed:
        raise ApiProblem(403, "foreign_origin", "sign in from this site's own page, or from the one it names")


def _origins(services: Services) -> set[str]:
    addresses = (services.settings.public_base_url, services.settings.sign_in_url)
    parts = [urlsplit(address) for address in addresses if address]
    return {f"{part.scheme}://{part.netloc}" for part in parts}


def _own_path(goal: str) -> str:
    """A path of this site, so that nobody is sent elsewhere after signing in."""
    is_own = goal.startswith("/") and not goal.startswith(("//", "/\\")) and goal.isprintable()
    return goal if is_own else _ROOT
