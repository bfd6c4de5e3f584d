"""The hosts' pages: their events, and an event's tabs. A page is a frame; what fills it comes from the JSON API."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import CollaboratorRole, Event
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel
from guestguard_dagster.domain.placeholders import Placeholder
from guestguard_dagster.rendering.dates import format_date, format_zone
from guestguard_dagster.rendering.shell import Branding
from guestguard_dagster.web.access import AppServices, Caller, EventAccess, SignedIn, Viewer
from guestguard_dagster.web.headers import PAGE_POLICY
from guestguard_dagster.web.problems import ApiProblem, problem_of
from guestguard_dagster.web.services import Services
from guestguard_dagster.web.templating import page

# The preview of a mail is a frame without scripts and without an origin. Mails are styled inline, and a frame of ours
# lives under the policy of the page around it.
_POLICY = f"{PAGE_POLICY}; style-src 'self' 'unsafe-inline'"
_MOST_EVENTS = 100
_CHANNEL_NAMES = {MessageChannel.EMAIL: "email", MessageChannel.SMS: "SMS"}
# in the order in which a host chooses among them
_AUDIENCES = (
    MessageAudience.EVERYONE,
    MessageAudience.ATTENDING,
    MessageAudience.PENDING,
    MessageAudience.MAYBE,
    MessageAudience.DECLINED,
)
# What the scripts of a page call what the API names.
_LABELS = {
    "audiences": {audience: audience.label for audience in _AUDIENCES},
    "channels": {channel: channel.label for channel in MessageChannel},
    "outcomes": {status: status.label for status in DeliveryStatus},
}

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Tab(NamedTuple):
    slug: str
    label: str


TABS = (
    Tab("guests", "Guests"),
    Tab("collaborators", "Collaborators"),
    Tab("communications", "Communications"),
    Tab("branding", "Branding"),
)


class PageRoute(APIRoute):
    """A route for people: who is not signed in is sent to do so, and what goes wrong is a page, too."""

    def get_route_handler(self) -> _Handler:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await handler(request)
            except Exception as error:
                problem = await run_sync(problem_of, error, request.app.state.present_message)
                if problem is None:
                    raise
                response = _problem_page(request, problem)
            response.headers["Content-Security-Policy"] = _POLICY
            return response

        return handle


router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/", name="page_of_events")
def events(caller: SignedIn, services: AppServices) -> Response:
    """The caller's events; one who has a single one can go straight on."""
    found = services.access.events_for(caller.user.id, limit=_MOST_EVENTS)
    now = services.database.now()
    cards = [_Card.of(event, role, is_over=(event.ends_at or event.starts_at) < now) for event, role in found]
    return page("host/events.html", **_viewer(services, caller), cards=cards)


@router.get("/manage/{event_id}", name="page_of_event")
def event(access: Viewer) -> Response:
    return RedirectResponse(f"/manage/{access.event.id}/communications", status_code=303)


@router.get("/manage/{event_id}/communications", name="page_of_communications")
def communications(access: Viewer, services: AppServices) -> Response:
    """Compose, schedule, follow and cancel messages."""
    without_provider = [
        name for channel, name in _CHANNEL_NAMES.items() if services.senders.for_channel(channel).provider == "log"
    ]
    return _event_page(
        "communications",
        access,
        services,
        placeholders=[(name.written, name.value.replace("_", " ").replace("rsvp", "RSVP")) for name in Placeholder],
        without_provider=without_provider,
    )


@router.get("/manage/{event_id}/guests", name="page_of_guests")
def guests(access: Viewer, services: AppServices) -> Response:
    """Who is invited, what they answered, and what they were sent."""
    return _event_page("guests", access, services)


@router.get("/manage/{event_id}/collaborators", name="page_of_collaborators")
def collaborators(access: Viewer, services: AppServices) -> Response:
    """Who works on the event, and as what."""
    return _event_page("collaborators", access, services)


@router.get("/manage/{event_id}/branding", name="page_of_branding")
def branding(access: Viewer, services: AppServices) -> Response:
    """How the event's mails look, and who they come from."""
    return _event_page("branding", access, services, default_accent=Branding().accent)


class _Card(NamedTuple):
    """An event as the list of events shows it."""

    event: Event
    role: CollaboratorRole
    when: str
    is_over: bool

    @classmethod
    def of(cls, event: Event, role: CollaboratorRole, *, is_over: bool) -> "_Card":
        return cls(event, role, format_date(event.starts_at, event.zone), is_over)


def _event_page(slug: str, access: EventAccess, services: Services, **values: Any) -> Response:
    event = access.event
    return page(
        f"host/{slug}.html",
        **_viewer(services, access.caller),
        **values,
        event=event,
        role=access.role,
        may_edit=access.role is not CollaboratorRole.VIEWER,
        is_owner=access.role is CollaboratorRole.OWNER,
        when=format_date(event.starts_at, event.zone),
        zone=format_zone(event.starts_at, event.zone),
        tabs=TABS,
        tab=slug,
        labels=_LABELS,
    )


def _viewer(services: Services, caller: Caller) -> dict[str, Any]:
    """Who looks, and what their changes must carry."""
    return {
        "user": caller.user,
        "is_operator": caller.is_operator,
        "csrf_token": services.sessions.csrf_token(caller.session) if caller.session else "",
    }


def _problem_page(request: Request, problem: ApiProblem) -> Response:
    if problem.status == 401:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(path, safe='')}", status_code=303)
    return page("problem.html", status=problem.status, problem=problem)
