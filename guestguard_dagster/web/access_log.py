"""One log line per request: the route as it is declared, ids, status and duration. Never the path, which may hold a
guest's token, nor a query, an address or a body."""

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class AccessLog:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            duration_ms = round((time.perf_counter() - started) * 1000, 1)
            logger.info("%s %s %s", scope["method"], _route(scope), status, extra=_facts(scope, duration_ms))


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "(no route)")


def _facts(scope: Scope, duration_ms: float) -> dict[str, Any]:
    ids = {name: str(value) for name, value in scope.get("path_params", {}).items() if name.endswith("_id")}
    user_id = scope.get("state", {}).get("user_id")
    return {"duration_ms": duration_ms, **ids, **({"user_id": str(user_id)} if user_id else {})}
