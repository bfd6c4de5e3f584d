"""Servers for the tests: real ones, in temporary folders, on free ports, so that two checkouts can test at once."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings

from guestguard_dagster.local.nats import NatsServer, start_nats
from guestguard_dagster.local.ports import start_on_free_port
from guestguard_dagster.local.postgres import PostgresServer, start_postgres
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import migrate
from guestguard_dagster_tests.send_contexts import (  # noqa: F401 - fixtures of every folder
    mail_server,
    open_sending,
    resend,
    resend_sending,
    sending,
    text_server,
)

_TEMPLATE = "migrated_template"

# The same examples in every run of the tests; `make fuzz` looks for new ones.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("fuzz", max_examples=1000)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests. It does not wait for the disk."""
    folder = Path(tempfile.mkdtemp(prefix="guestguard-postgres-"))
    server = start_on_free_port(lambda port: start_postgres(folder, port=port, durable=False))
    server.ensure_database(_TEMPLATE)
    with Database(server.url(_TEMPLATE)) as template:
        migrate(template)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of a database of this test's own without any table."""
    with _own_database(postgres_server, template="template1") as url:
        yield url


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of a migrated database of this test's own."""
    with _own_database(postgres_server, template=_TEMPLATE) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database of this test's own."""
    with Database(database_url, application_name="guestguard-tests") as database:
        yield database


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """One NATS server with JetStream for all tests: give your streams and subjects names of your own."""
    folder = Path(tempfile.mkdtemp(prefix="guestguard-nats-"))
    server = start_on_free_port(lambda port: start_nats(folder, port=port))
    yield server
    server.stop()
    shutil.rmtree(folder)


@contextmanager
def _own_database(server: PostgresServer, *, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        yield server.url(name)
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
