"""How guests' pages are put together: the event's own accent colour, and nothing that leads or leaks elsewhere."""

import secrets
from typing import Any

from starlette.responses import Response

from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.shell import Branding
from guestguard_dagster.storage.people.rsvps import Invitation
from guestguard_dagster.web.headers import PAGE_POLICY
from guestguard_dagster.web.problems import public_problems
from guestguard_dagster.web.templating import page


def guest_page(template: str, invitation: Invitation | None, *, status: int = 200, **values: Any) -> Response:
    """A page of `templates/guest/`, dressed as the event's mails are; plain where there is no event."""
    nonce = secrets.token_urlsafe(16)
    event = invitation.event if invitation else None
    response = page(
        f"guest/{template}",
        status=status,
        nonce=nonce,
        branding=Branding.of(event) if event else Branding(),
        facts=EventFacts.of(event, host_name=_host_name(invitation)) if invitation and event else None,
        **values,
    )
    response.headers["Content-Security-Policy"] = f"{PAGE_POLICY}; style-src 'self' 'nonce-{nonce}'"
    # Search engines follow every link they are shown.
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


def _host_name(invitation: Invitation | None) -> str | None:
    return (invitation.event.sender_name or invitation.host.name) if invitation else None


def html(description: str) -> dict[str, Any]:
    """An answer that is a page, for the OpenAPI document."""
    return {"description": description, "content": {"text/html": {"schema": {"type": "string"}}}}


def html_or_problem(status: int, description: str) -> dict[str, Any]:
    """A page for a person; or problem details for what no page of ours would send."""
    problem, page_of_it = public_problems(status)[status], html(description)
    return {"description": description, "content": {**problem["content"], **page_of_it["content"]}}


def form(**fields: dict[str, Any]) -> dict[str, Any]:
    """A request body that is a form, for the OpenAPI document."""
    schema = {"type": "object", "properties": fields}
    return {"required": False, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}
