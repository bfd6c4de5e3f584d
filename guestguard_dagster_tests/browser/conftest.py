"""The whole product on this machine for one test: application, database, mail server, and a host's browser."""

import logging
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.events import CollaboratorRole, Event, User
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster.web.app import create_app
from guestguard_dagster.web.services import LocalSignIn
from guestguard_dagster_tests.factories import make_event, make_user
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener, smtp_settings

SECRET = "a secret for tests only"
_SIGN_IN_KEY = "the key that guestguard up prints"
_PATIENCE_MS = 20_000
# The browser sits elsewhere than the event, so that a time in the wrong zone shows.
_BROWSER_ZONE = "America/New_York"


@dataclass(frozen=True)
class Site:
    """The application under test, and the event that its host works on."""

    url: str
    host: User
    event: Event

    def page(self, tab: str, event: Event | None = None) -> str:
        return f"{self.url}/manage/{(event or self.event).id}/{tab}"

    @property
    def sign_in(self) -> str:
        return f"{self.url}/sign-in?key={_SIGN_IN_KEY}"


OpenPage = Callable[..., Page]


# Not for the session: Playwright keeps an event loop in this thread, which other tests need for themselves.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.fail("these tests need Chromium; on Debian and Ubuntu: apt install chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def mail_server() -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server:
        yield server


@pytest.fixture
def host(database: Database) -> User:
    return make_user(database, name="Hanna Host", email="hanna@example.com")


@pytest.fixture
def event(database: Database, host: User) -> Event:
    """In ten days in Berlin, without guests."""
    return make_event(database, owner=host)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # a browser that comes before the server waits for it
        yield listening


@pytest.fixture
def mail_settings(mail_server: SmtpLoopback) -> dict[str, object]:
    """Which providers the application and the runs have."""
    return smtp_settings(mail_server)


@pytest.fixture
def site(
    listening: socket.socket,
    database_url: str,
    mail_settings: dict[str, object],
    host: User,
    event: Event,
) -> Iterator[Site]:
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    values = {"database_url": database_url, "guestguard_secret_key": SECRET, "public_base_url": url}
    settings = Settings.model_validate({**values, **mail_settings, "dagster_url": "http://dagster.example"})
    app = create_app(settings, Database(database_url), local_sign_in=LocalSignIn(host.id, _SIGN_IN_KEY))
    server = uvicorn.Server(uvicorn.Config(app, log_level=logging.ERROR, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield Site(url, host, event)
    server.should_exit = True
    thread.join()


@pytest.fixture
def open_sending(
    site: Site, database_url: str, mail_settings: dict[str, object]
) -> Iterator[Callable[..., SendContext]]:
    """SendContexts as runs have them, whose links lead to the site."""
    opener = SendContextOpener(database_url)

    def open_it(**more: object) -> SendContext:
        return opener(mail_settings, {"public_base_url": site.url, **more})

    with opener.opened:
        yield open_it


@pytest.fixture
def sending(open_sending: Callable[..., SendContext]) -> SendContext:
    return open_sending()


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[OpenPage]:
    """Pages of browsers of their own: the host's, or nobody's. An error in a page's scripts fails the test."""
    contexts: list[BrowserContext] = []
    mistakes: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A refusal by the API is logged by the browser as a resource that failed to load, and is what some tests want.
        if message.type == "error" and "Failed to load resource" not in message.text:
            mistakes.append(message.text)

    def open_it(*, signed_in: bool = True, width: int = 1280, color_scheme: Literal["light", "dark"] = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=color_scheme, timezone_id=_BROWSER_ZONE
        )
        contexts.append(context)
        context.set_default_timeout(_PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.on("console", note)
        if signed_in:
            page.goto(site.sign_in)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert mistakes == []


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """The host's browser, signed in."""
    return open_page()


@pytest.fixture
def guest_page(open_page: OpenPage) -> Page:
    """A guest's browser, who is nobody here."""
    return open_page(signed_in=False)


@pytest.fixture
def shared_event(database: Database, host: User) -> Callable[[CollaboratorRole], Event]:
    """An event of somebody else on which the host has this role."""

    def share(role: CollaboratorRole) -> Event:
        event = make_event(database, name="Somebody else's party")
        EventRepo(database).add_collaborator(event.id, host.id, role)
        return event

    return share
