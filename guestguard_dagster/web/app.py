"""The web application: the API, the pages and the webhooks, over one database and one set of senders."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.middleware.trustedhost import TrustedHostMiddleware

from guestguard_dagster import logs
from guestguard_dagster.settings import Settings, load_settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.web import health, monitoring, sign_in
from guestguard_dagster.web.access_log import AccessLog
from guestguard_dagster.web.api import collaborators, deliveries, events, guests, messages, notifications
from guestguard_dagster.web.api import previews as samples
from guestguard_dagster.web.headers import SecurityHeaders
from guestguard_dagster.web.limits import BoundedBody
from guestguard_dagster.web.pages import host, reports
from guestguard_dagster.web.problems import SCHEMA_NAME, Problem, install
from guestguard_dagster.web.public import rsvp, unsubscribe
from guestguard_dagster.web.services import LocalSignIn, Services
from guestguard_dagster.web.templating import STATIC_FOLDER, KeptFiles
from guestguard_dagster.web.webhooks.routers import webhook_routers

_THREADS_THAT_QUERY = 20

_DESCRIPTION = """\
Hosts compose, edit, cancel and follow the messages of their events.

Errors are problem details (RFC 9457). Lists are read page by page: pass `next` of one page as `after` of the next one.
A POST takes an `Idempotency-Key`. Instants carry their offset, and are answered in UTC."""


def create_app(
    settings: Settings | None = None,
    database: Database | None = None,
    *,
    local_sign_in: LocalSignIn | None = None,
) -> FastAPI:
    """The application, ready to be served.

    Without arguments (as `uvicorn --factory` calls it) it reads the settings and logs as JSON. `local_sign_in` is for
    `guestguard up` alone: it signs in whoever has its key, and answers to this machine's own names only.
    Raises SettingsInvalid.
    """
    if settings is None:
        settings = load_settings()
        logs.configure("guestguard-web", debug=settings.is_development)
    database = database or Database(
        settings.require_database_url(), application_name="guestguard-web", pool_size=_THREADS_THAT_QUERY
    )
    services = Services.open(settings, database, local_sign_in)
    app = FastAPI(
        title="GuestGuard",
        description=_DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    app.state.present_message = lambda message_id: messages.present_message(services, message_id)
    install(app, app.state.present_message)
    # Fixed paths before those with an id in their place.
    for module in (health, sign_in, events, collaborators, guests, samples, messages, deliveries, notifications, host):
        app.include_router(module.router)
    app.include_router(rsvp.make_router(settings.rsvp_path))
    for router in (unsubscribe.router, *webhook_routers(), monitoring.router, reports.router):
        app.include_router(router)
    app.mount("/static", KeptFiles(directory=STATIC_FOLDER), name="static")
    _publish_openapi(app)

    # The last one added is the first one that sees a request.
    app.add_middleware(BoundedBody)
    if local_sign_in is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])
    app.add_middleware(SecurityHeaders, is_https=settings.public_base_url.startswith("https://"))
    app.add_middleware(AccessLog)
    # Its lines carry whole paths, and with them the tokens of guests.
    logging.getLogger("uvicorn.access").disabled = True
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    services.publisher.start()
    yield
    services.close()


def _operation_id(route: APIRoute) -> str:
    return route.name


def _publish_openapi(app: FastAPI) -> None:
    """The document as FastAPI makes it, with the schema of problems, which every answer refers to."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            components.update(problem.pop("$defs", {}))
            components[SCHEMA_NAME] = problem
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's own manual has it
