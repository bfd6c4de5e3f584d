"""Bounds: how large a body may be, and how often one caller may write. The rate is shared by all processes."""

import math
from datetime import timedelta
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guestguard_dagster.storage.providers.rates import RateRepo
from guestguard_dagster.web.access import AppServices, SignedIn
from guestguard_dagster.web.problems import ApiProblem, problem_response

LARGEST_BODY = 256 * 1024
LARGEST_IMPORT = 5 * 1024 * 1024
IMPORT_PATH_ENDS = "/guests/import"

_WRITES_PER_SECOND = 5.0
_WRITE_BURST = timedelta(seconds=10)
_TESTS_PER_SECOND = 0.2
_TEST_BURST = timedelta(seconds=30)
_ANSWERS_PER_SECOND = 0.5
_ANSWER_BURST = timedelta(seconds=30)


def reserve(rates: RateRepo, key: str, *, per_second: float, burst: timedelta) -> None:
    """Count one use of `key`. Raises ApiProblem 429 when the uses before reach further than `burst` ahead."""
    if rates.reserve(f"web:{key}", cost=1, per_second=per_second, backlog_below=burst) is None:
        wait = max(1, math.ceil(1 / per_second))
        raise ApiProblem(
            429,
            "too_many_requests",
            f"too many requests; try again in {wait} seconds",
            headers={"Retry-After": str(wait)},
        )


def writes(caller: SignedIn, services: AppServices) -> None:
    """A dependency of every endpoint that changes something."""
    reserve(services.rates, f"write:{caller.user.id}", per_second=_WRITES_PER_SECOND, burst=_WRITE_BURST)


def sends_at_once(caller: SignedIn, services: AppServices) -> None:
    """A dependency of the endpoints that send at once."""
    reserve(services.rates, f"test:{caller.user.id}", per_second=_TESTS_PER_SECOND, burst=_TEST_BURST)


def reserve_answer(rates: RateRepo, guest_id: UUID) -> None:
    """Count what a guest changes on their own pages. Raises ApiProblem 429."""
    reserve(rates, f"guest:{guest_id}", per_second=_ANSWERS_PER_SECOND, burst=_ANSWER_BURST)


class BoundedBody:
    """Refuses a body that is too large: by its announced length, or as soon as more than that has come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = LARGEST_IMPORT if scope["path"].endswith(IMPORT_PATH_ENDS) else LARGEST_BODY
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > limit:
            refusal = problem_response(ApiProblem(413, "too_large", _too_large(limit)))
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, _too_large(limit))
            return message

        await self._app(scope, counted, send)


def _too_large(limit: int) -> str:
    return f"the request's body is larger than {limit // 1024} KiB; send less at once"
