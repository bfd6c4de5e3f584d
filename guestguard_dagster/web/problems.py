"""Problem details (RFC 9457): the one shape of every answer that is not what was asked for."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from guestguard_dagster.domain.placeholders import TemplateRefused
from guestguard_dagster.storage.database import DatabaseUnavailable
from guestguard_dagster.storage.errors import (
    CollaboratorNotFound,
    EventCancelled,
    MessageHeld,
    MessageNotEditable,
    MessageNotHoldable,
    MessageNotRetryable,
    MessageTooLate,
    NotFound,
    OwnerStays,
    Refused,
    ReminderExists,
    SendTimeMissing,
    StaleEvent,
    StaleVersion,
)

MEDIA_TYPE = "application/problem+json"
SCHEMA_NAME = "Problem"

logger = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    """One thing that is wrong with what was sent."""

    field: str = Field(description="where it is: a field, a parameter, or a column of a CSV file")
    message: str = Field(description="a sentence for the person who typed it")
    line: int | None = Field(default=None, description="the line of a text or a CSV file, from 1")


class Problem(BaseModel):
    """RFC 9457. `code` is for programs, `detail` for people. `present` says how the row stands now."""

    model_config = ConfigDict(extra="forbid")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    present: dict[str, Any] | None = None
    errors: list[FieldProblem] | None = None


class ApiProblem(Exception):
    """Raised anywhere below a request; answered as problem+json."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        present: Mapping[str, Any] | None = None,
        errors: Sequence[FieldProblem] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.present = present
        self.errors = errors
        self.headers = headers


_TITLES: Mapping[int, str] = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflicts with the present state",
    413: "Too large",
    415: "Unsupported media type",
    422: "Cannot be used as it is",
    429: "Too many requests",
    500: "Something went wrong here",
    503: "Not available now",
}

# What every endpoint may answer, whatever it does.
_EVERYWHERE = (400, 401, 413, 422, 429, 503)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint, for OpenAPI: these statuses, and those that every endpoint may answer."""
    return {status: _documented(status) for status in sorted({*statuses, *_EVERYWHERE})}


def public_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for an endpoint that nobody signs in for."""
    return {status: _documented(status) for status in sorted({*statuses, 400, 413, 422, 503})}


def problem_response(problem: ApiProblem) -> Response:
    body = Problem(
        title=_TITLES.get(problem.status, "Error"),
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        present=dict(problem.present) if problem.present is not None else None,
        errors=list(problem.errors) if problem.errors is not None else None,
    )
    content = body.model_dump(mode="json", exclude_none=True)
    return Response(
        json.dumps(content, ensure_ascii=False),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(problem.headers or {}),
    )


# Tells how a message stands now, for the conflicts that are about one.
PresentMessage = Callable[[UUID], Mapping[str, Any]]


def problem_of(error: Exception, present_message: PresentMessage) -> ApiProblem | None:
    """What this exception is as an answer; None for one that nobody foresaw."""
    match error:
        case ApiProblem():
            return error
        case NotFound():
            return ApiProblem(404, "not_found", str(error))
        case TemplateRefused():
            errors = [FieldProblem(field=each.field, line=each.line, message=each.reason) for each in error.problems]
            return ApiProblem(422, "template_refused", str(error), errors=errors)
        case SendTimeMissing():
            wrong = FieldProblem(field="send_at", message="a scheduled message needs the time at which it leaves")
            return ApiProblem(422, "send_time_missing", str(error), errors=[wrong])
        case StaleVersion():
            return ApiProblem(409, "stale_edit", str(error), present=present_message(error.message_id))
        case MessageNotEditable() | MessageHeld() | MessageNotHoldable() | MessageNotRetryable() | MessageTooLate():
            return ApiProblem(409, _CODES[type(error)], str(error), present=present_message(error.message_id))
        case Refused():
            return ApiProblem(409, _CODES.get(type(error), "refused"), str(error))
        case DatabaseUnavailable():
            return ApiProblem(503, "database_unavailable", str(error), headers={"Retry-After": "5"})
        case RequestValidationError():
            return _of_validation(error)
        case HTTPException():
            return _of_http(error)
    return None


_CODES: Mapping[type[Exception], str] = {
    EventCancelled: "event_cancelled",
    MessageHeld: "message_held",
    MessageNotEditable: "message_not_editable",
    MessageNotHoldable: "message_not_stoppable",
    MessageNotRetryable: "message_not_retryable",
    MessageTooLate: "message_too_late",
    ReminderExists: "reminder_exists",
    StaleEvent: "stale_edit",
    OwnerStays: "owner_stays",
    CollaboratorNotFound: "not_found",
}


def install(app: FastAPI, present_message: PresentMessage) -> None:
    """Answer every exception as problem+json, and say so in the OpenAPI document."""

    async def answer(_request: Request, error: Exception) -> Response:
        return await run_sync(response_to, error, present_message)

    for kind in (
        ApiProblem,
        NotFound,
        Refused,
        TemplateRefused,
        DatabaseUnavailable,
        RequestValidationError,
        HTTPException,
        Exception,
    ):
        app.add_exception_handler(kind, answer)


def response_to(error: Exception, present_message: PresentMessage) -> Response:
    """The answer to any exception; one that nobody foresaw says nothing of itself."""
    unforeseen = ApiProblem(500, "internal_error", "something went wrong here; it is on record, try again later")
    return problem_response(problem_of(error, present_message) or unforeseen)


def _documented(status: int) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{SCHEMA_NAME}"}
    return {"description": _TITLES[status], "content": {MEDIA_TYPE: {"schema": schema}}}


def _of_validation(error: RequestValidationError) -> ApiProblem:
    errors = [
        FieldProblem(field=".".join(map(str, each["loc"][1:])) or str(each["loc"][0]), message=_sentence(each["msg"]))
        for each in error.errors()[:20]
    ]
    detail = "; ".join(f"{each.field}: {each.message}" for each in errors)
    return ApiProblem(422, "invalid", detail, errors=errors)


def _sentence(message: str) -> str:
    """Pydantic's words without the prefix it puts before ours."""
    return message.removeprefix("Value error, ")


def _of_http(error: HTTPException) -> ApiProblem:
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}
    details = {
        404: "there is nothing at this address; check it against /openapi.json",
        405: "this address does not take that method; see the Allow header",
    }
    detail = details.get(error.status_code, str(error.detail))
    return ApiProblem(error.status_code, codes.get(error.status_code, "refused"), detail, headers=error.headers)
