"""The web application on this machine: in a thread of the process that starts it, on loopback alone."""

import asyncio
import logging
import secrets
import socket
import threading
from concurrent.futures import Future
from uuid import UUID

import uvicorn
from fastapi import FastAPI

from guestguard_dagster.settings import Settings
from guestguard_dagster.web.app import create_app
from guestguard_dagster.web.services import LocalSignIn

_START_SECONDS = 20

_log = logging.getLogger(__name__)


def web_address(port: int) -> str:
    """With the name that browsers trust as this machine: cookies of http pages are kept for it."""
    return f"http://localhost:{port}"


class WebServer:
    """A running application. `sign_in_url` signs its user in; None where people bring their own tokens."""

    def __init__(self, app: FastAPI, listener: socket.socket, sign_in: LocalSignIn | None) -> None:
        self.port: int = listener.getsockname()[1]
        self._listener = listener
        self._sign_in = sign_in
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, server_header=False)
        )
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        self._started.result(_START_SECONDS)

    @property
    def url(self) -> str:
        return web_address(self.port)

    @property
    def sign_in_url(self) -> str | None:
        return f"{self.url}/sign-in?key={self._sign_in.key}" if self._sign_in else None

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Safe to call twice."""
        self._server.should_exit = True
        self._thread.join(_START_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if not self._started.done():
                self._started.set_exception(error)
            _log.exception("the web application stopped")

    async def _serve(self) -> None:
        self._started.set_result(None)
        await self._server.serve(sockets=[self._listener])


def start_web(settings: Settings, listener: socket.socket, *, host_id: UUID | None) -> WebServer:
    """Serve the application on `listener`; with `host_id`, its sign-in link signs that user in.

    Raises SettingsInvalid.
    """
    if not settings.is_development:
        # A page that shows progress asks every second: at a terminal, that hides everything else.
        logging.getLogger("guestguard_dagster.web.access_log").setLevel(logging.WARNING)
    sign_in = LocalSignIn(host_id, secrets.token_urlsafe(24)) if host_id is not None else None
    return WebServer(create_app(settings, local_sign_in=sign_in), listener, sign_in)
