"""HTML pages from templates, and static files under addresses that change with their content."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_ROOM = Path(__file__).parent
STATIC_FOLDER = _ROOM / "static"
_FOREVER = "public, max-age=31536000, immutable"


def page(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of `templates/`. Values are escaped; a name that the template does not find is an error."""
    html = _environment().get_template(template).render(values)
    return HTMLResponse(html, status_code=status)


@cache
def static_url(name: str) -> str:
    """The address of a file of `static/`, which browsers may keep until its content changes."""
    digest = hashlib.sha256((STATIC_FOLDER / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_ROOM / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static_url"] = static_url
    return environment


class KeptFiles(StaticFiles):
    """Static files; one that is asked for by its digest is kept by browsers for good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        asked_by_digest = scope.get("query_string", b"").startswith(b"v=")
        response.headers["Cache-Control"] = _FOREVER if asked_by_digest else "no-cache"
        return response
