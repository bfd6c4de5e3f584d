"""What a caller may do: signed in at all, and with which role on which event. Used as FastAPI dependencies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from guestguard_dagster.domain.addresses import email_key
from guestguard_dagster.domain.events import CollaboratorRole, Event, User
from guestguard_dagster.storage.errors import EventNotFound
from guestguard_dagster.web.auth import CSRF_HEADER, Identity, Session, TokenInvalid
from guestguard_dagster.web.problems import ApiProblem
from guestguard_dagster.web.services import Services, services_of

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_RANKS = {CollaboratorRole.VIEWER: 0, CollaboratorRole.EDITOR: 1, CollaboratorRole.OWNER: 2}

# Only for the OpenAPI document: `identify` reads the request itself.
_bearer = HTTPBearer(auto_error=False, description="a token of the configured issuer, or of `guestguard token`")
_cookie = APIKeyCookie(
    name="guestguard_session", auto_error=False, description=f"the page's session; changes need {CSRF_HEADER} as well"
)

AppServices = Annotated[Services, Depends(services_of)]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `session` is set for a browser, whose changes were checked for their CSRF token already."""

    user: User
    is_operator: bool
    session: Session | None = None


def bearer_token(request: Request) -> str | None:
    """The token of the Authorization header; None without the header. Raises TokenInvalid for another scheme."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    if scheme.lower() != "bearer":
        raise TokenInvalid("the Authorization header must say Bearer")
    return token.strip()


def identify(request: Request, services: Services) -> Caller:
    """The caller by bearer token, else by session cookie. Raises ApiProblem 401, or 403 without a CSRF token."""
    cookie = request.cookies.get(services.sessions.cookie_name)
    session: Session | None = None
    try:
        token = bearer_token(request)
        if token is not None:
            identity = services.bearer.identity(token)
        elif cookie is not None:
            session = services.sessions.read(cookie)
            identity = Identity(session.user_id, session.is_operator)
        else:
            raise TokenInvalid("sign in first, or send a bearer token")
    except TokenInvalid as problem:
        raise _not_signed_in(str(problem)) from None
    user = services.access.user(identity.user_id)
    if user is None:
        raise _not_signed_in("the token is of a user who does not exist here")
    if session is not None and request.method not in _SAFE_METHODS:
        require_csrf_token(request, services, session)
    request.state.user_id = user.id
    return Caller(user, identity.is_operator or _is_operator(services, user), session)


def _is_operator(services: Services, user: User) -> bool:
    operators = {email_key(address) for address in services.settings.operator_addresses}
    local = services.local_sign_in
    return email_key(user.email) in operators or (local is not None and local.user_id == user.id)


def require_csrf_token(request: Request, services: Services, session: Session) -> None:
    """Raises ApiProblem 403 when a browser's change does not come from our own page."""
    token = request.headers.get(CSRF_HEADER, "")
    came_from = request.headers.get("sec-fetch-site", "same-origin")
    if came_from not in ("same-origin", "none") or not services.sessions.is_csrf_token(session, token):
        raise ApiProblem(403, "csrf", f"the header {CSRF_HEADER} is missing or stale; load the page again")


def signed_in(
    request: Request,
    services: AppServices,
    _documented_bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    _documented_cookie: Annotated[str | None, Depends(_cookie)],
) -> Caller:
    return identify(request, services)


SignedIn = Annotated[Caller, Depends(signed_in)]


@dataclass(frozen=True, slots=True)
class EventAccess:
    """An event that the caller works on, and as what."""

    event: Event
    role: CollaboratorRole
    caller: Caller


def at_least(needed: CollaboratorRole) -> Callable[..., EventAccess]:
    """A dependency: the event of the path. One that is not the caller's does not exist for them (404)."""

    def check(
        event_id: Annotated[UUID, Path(description="the event's id")], caller: SignedIn, services: AppServices
    ) -> EventAccess:
        found = services.access.event_for(event_id, caller.user.id)
        if found is None:
            raise EventNotFound(event_id)
        event, role = found
        if _RANKS[role] < _RANKS[needed]:
            raise ApiProblem(
                403, "role_too_low", f"you are {role} of event {event_id}; this needs {needed}: ask the event's owner"
            )
        return EventAccess(event, role, caller)

    return check


Viewer = Annotated[EventAccess, Depends(at_least(CollaboratorRole.VIEWER))]
Editor = Annotated[EventAccess, Depends(at_least(CollaboratorRole.EDITOR))]
Owner = Annotated[EventAccess, Depends(at_least(CollaboratorRole.OWNER))]


def _not_signed_in(detail: str) -> ApiProblem:
    return ApiProblem(401, "not_signed_in", detail, headers={"WWW-Authenticate": "Bearer"})
