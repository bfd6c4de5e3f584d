"""The real application over a real database, called as a browser or a program would call it."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from guestguard_dagster.domain.events import CollaboratorRole, Event, User
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster.web.app import create_app
from guestguard_dagster.web.auth import BearerTokens
from guestguard_dagster_tests.factories import make_event, make_user

ADDRESS = "http://testserver"

# A client with the bearer token of a user.
ClientOf = Callable[[User], TestClient]


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings.model_validate(
        {
            "database_url": database_url,
            "guestguard_secret_key": "a secret for tests only",
            "public_base_url": ADDRESS,
        }
    )


@pytest.fixture
def app(settings: Settings, database: Database) -> Iterator[FastAPI]:
    with TestClient(create_app(settings, database)) as running:
        assert isinstance(running.app, FastAPI)
        yield running.app


@pytest.fixture
def anonymous(app: FastAPI) -> TestClient:
    """Nobody in particular. A failure inside the application is an answer, as it is for everybody else."""
    return TestClient(app, base_url=ADDRESS, raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture
def client_of(app: FastAPI, settings: Settings) -> ClientOf:
    def client(user: User) -> TestClient:
        return signed_in_client(app, settings, user)

    return client


@pytest.fixture
def host(database: Database) -> User:
    return make_user(database)


@pytest.fixture
def event(database: Database, host: User) -> Event:
    """In ten days, without reminders or guests."""
    return make_event(database, owner=host)


@pytest.fixture
def client(client_of: ClientOf, host: User) -> TestClient:
    """The owner of `event`."""
    return client_of(host)


@pytest.fixture
def collaborator(database: Database, event: Event) -> Callable[[CollaboratorRole], User]:
    """A new user who works on `event` in this role."""

    def join(role: CollaboratorRole) -> User:
        user = make_user(database, name=f"A {role}")
        EventRepo(database).add_collaborator(event.id, user.id, role)
        return user

    return join


def bearer_token(settings: Settings, user: User, *, lasts: timedelta = timedelta(minutes=5)) -> str:
    return BearerTokens.from_settings(settings).mint(user.id, lasts=lasts)


def signed_in_client(app: FastAPI, settings: Settings, user: User) -> TestClient:
    headers = {"Authorization": f"Bearer {bearer_token(settings, user)}"}
    return TestClient(app, base_url=ADDRESS, headers=headers, raise_server_exceptions=False, follow_redirects=False)
