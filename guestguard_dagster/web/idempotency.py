"""The Idempotency-Key of a POST: the first answer is kept, and given again to every repeat of the same request.

A request whose process died in the middle is never repeated by its key: nobody knows how far it came.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from guestguard_dagster.web.access import identify
from guestguard_dagster.web.problems import ApiProblem, problem_of, problem_response
from guestguard_dagster.web.services import Services, services_of

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
_LONGEST_KEY = 200

_Handler = Callable[[Request], Awaitable[Response]]

_PARAMETER = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "repeats of this request with the same key are answered as the first one was, for two days",
    "schema": {"type": "string", "minLength": 1, "maxLength": _LONGEST_KEY, "pattern": "^[!-~]+$"},
}


class IdempotentRoute(APIRoute):
    """A route whose POST takes an Idempotency-Key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "POST" in (kwargs.get("methods") or ()):
            kwargs["openapi_extra"] = {**(kwargs.get("openapi_extra") or {}), "parameters": [_PARAMETER]}
        super().__init__(*args, **kwargs)

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            key = request.headers.get(KEY_HEADER)
            if request.method != "POST" or key is None:
                return await handler(request)
            return await _once(request, key, handler)

        return handle


async def _once(request: Request, key: str, handler: _Handler) -> Response:
    if not key or len(key) > _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise ApiProblem(422, "invalid", f"{KEY_HEADER} is 1 to {_LONGEST_KEY} printable ASCII characters")
    services = services_of(request)
    caller = await run_sync(identify, request, services)
    digest = await _digest(request)
    known = await run_sync(services.idempotency.claim, caller.user.id, key, digest)
    if known is not None:
        if known.request_digest != digest:
            raise ApiProblem(422, "key_reused", f"this {KEY_HEADER} belongs to another request; make a new one")
        if known.status is None:
            raise ApiProblem(
                409,
                "unanswered",
                "the first request with this key was not answered, or not yet; look whether it took effect, "
                "and use a new key if it did not",
            )
        return Response(known.body, known.status, {REPLAYED_HEADER: "true"}, media_type=known.media_type)
    response = await _answer(request, handler)
    # A refusal changed nothing, so the key is free again for a request that was put right.
    settle = _keep if response.status_code < 400 else _release
    await run_sync(settle, services, caller.user.id, key, response)
    return response


async def _answer(request: Request, handler: _Handler) -> Response:
    try:
        return await handler(request)
    except Exception as error:
        problem = await run_sync(problem_of, error, request.app.state.present_message)
        if problem is None:
            raise
        return problem_response(problem)


def _keep(services: Services, user_id: UUID, key: str, response: Response) -> None:
    media_type = response.headers.get("content-type")
    body = bytes(response.body)
    services.idempotency.keep(user_id, key, status=response.status_code, body=body, media_type=media_type)


def _release(services: Services, user_id: UUID, key: str, _response: Response) -> None:
    services.idempotency.release(user_id, key)


async def _digest(request: Request) -> bytes:
    """What makes two requests the same: where they go, and every byte of what they say."""
    target = f"{request.method} {request.url.path}?{request.url.query}".encode()
    return hashlib.sha256(hashlib.sha256(target).digest() + await request.body()).digest()
