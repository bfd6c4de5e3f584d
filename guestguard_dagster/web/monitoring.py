"""What monitors ask: whether the service can do its work, and numbers. Sentences and numbers are for operators."""

import hmac

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse

from guestguard_dagster.operations.health import Level, examine
from guestguard_dagster.operations.metrics import CONTENT_TYPE, exposition
from guestguard_dagster.storage.database import DatabaseFailed
from guestguard_dagster.web.access import AppServices, bearer_token, identify
from guestguard_dagster.web.auth import TokenInvalid
from guestguard_dagster.web.problems import ApiProblem
from guestguard_dagster.web.services import Services

# For machines that are told of it in docs/operations.md, not for programs of hosts.
router = APIRouter(include_in_schema=False)


@router.get("/health")
def health(request: Request, services: AppServices) -> JSONResponse:
    """The level of every finding, with 503 when one is an error; for operators, what is so and what to do."""
    found = examine(services.database, services.settings)
    status = 503 if found.level is Level.ERROR else 200
    return JSONResponse(found.as_json(detailed=_is_operator(request, services)), status_code=status)


@router.get("/metrics")
def metrics(request: Request, services: AppServices) -> PlainTextResponse:
    """For Prometheus, with METRICS_TOKEN as its bearer token, or an operator's. Raises ApiProblem 401."""
    if not (_has_metrics_token(request, services) or _is_operator(request, services)):
        raise ApiProblem(
            401,
            "not_signed_in",
            "metrics are for operators: send METRICS_TOKEN, or an operator's token, as bearer token",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return PlainTextResponse(exposition(services.database, services.settings), media_type=CONTENT_TYPE)


def _is_operator(request: Request, services: Services) -> bool:
    try:
        return identify(request, services).is_operator
    except (ApiProblem, DatabaseFailed):
        return False


def _has_metrics_token(request: Request, services: Services) -> bool:
    needed = services.settings.metrics_token
    try:
        given = bearer_token(request)
    except TokenInvalid:
        return False
    if needed is None or given is None:
        return False
    return hmac.compare_digest(needed.get_secret_value().encode(), given.encode())
