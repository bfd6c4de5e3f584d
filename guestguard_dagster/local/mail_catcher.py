"""A mail server that delivers to nobody: it takes every mail, keeps it, and shows it on a page.

It runs in a thread of the process that starts it and listens on loopback alone, without TLS or login.
"""

import asyncio
import logging
import socket
import threading
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session

from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.mail_page import build_mail_page
from guestguard_dagster.local.mail_store import MailStore
from guestguard_dagster.local.ports import LOOPBACK, listen

_START_SECONDS = 20
_LARGEST_MAIL_BYTES = 30 * 1024 * 1024

_log = logging.getLogger(__name__)


class MailCatcher:
    """A running catcher: SMTP on `smtp_port`, the page at `page_url`, the mails in `store`."""

    def __init__(self, smtp: socket.socket, page: socket.socket, store: MailStore) -> None:
        self.smtp_port: int = smtp.getsockname()[1]
        self.page_port: int = page.getsockname()[1]
        self.store = store
        self._smtp_socket = smtp
        self._page_socket = page
        self._web = uvicorn.Server(
            uvicorn.Config(build_mail_page(store), log_config=None, access_log=False, timeout_graceful_shutdown=1)
        )
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="mail-catcher", daemon=True)
        self._thread.start()
        self._started.result(_START_SECONDS)

    @property
    def page_url(self) -> str:
        return f"http://{LOOPBACK}:{self.page_port}"

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._web.should_exit = True
        self._thread.join(_START_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if not self._started.done():
                self._started.set_exception(error)
            _log.exception("the mail catcher stopped")

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        keeper = _Keeper(self.store)
        server = await loop.create_server(
            lambda: SMTP(
                keeper,
                hostname="localhost",
                ident="GuestGuard mail catcher",
                enable_SMTPUTF8=True,
                data_size_limit=_LARGEST_MAIL_BYTES,
                loop=loop,
            ),
            sock=self._smtp_socket,
        )
        async with server:
            self._started.set_result(None)
            await self._web.serve(sockets=[self._page_socket])


class _Keeper:
    """What aiosmtpd calls with each mail."""

    def __init__(self, store: MailStore) -> None:
        self._store = store

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        content = envelope.original_content or b""
        try:
            mail_id = self._store.add(envelope.mail_from or "", envelope.rcpt_tos, content)
        except OSError as error:
            _log.warning("the mail catcher cannot keep a mail: %s", error.strerror)
            return f"452 4.3.1 the mail catcher cannot keep this mail: {error.strerror}"
        return f"250 2.0.0 kept as mail {mail_id}"


def start_mail_catcher(folder: Path, *, smtp_port: int, page_port: int) -> MailCatcher:
    """Start a catcher whose mails are in `folder` (made if missing). Port 0 means any free one.

    Raises PortTaken, or LocalServiceError with a sentence, when it cannot.
    """
    with ExitStack() as opened:
        smtp = opened.enter_context(listen(smtp_port, wanted_by="the mail catcher's SMTP server"))
        page = opened.enter_context(listen(page_port, wanted_by="the mail catcher's page"))
        try:
            catcher = MailCatcher(smtp, page, MailStore(folder))
        except OSError as error:
            raise LocalServiceError(f"the mail catcher cannot keep mails in {folder}: {error.strerror}") from error
        opened.pop_all()
        return catcher
