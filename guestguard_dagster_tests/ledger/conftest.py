"""A ledger of the test's own, processes that send, and backups of the database."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from uuid import uuid4

import pytest

from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.local.postgres import PostgresServer
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import LedgerDeclaration
from guestguard_dagster.streams.ledger import Ledger
from guestguard_dagster_tests.ledger.sending import Arrived, Process, copied

Start = Callable[[str], Process]
BackUp = Callable[[str], str]


@pytest.fixture
def declaration() -> LedgerDeclaration:
    """Names that no other test uses."""
    own = uuid4().hex[:12]
    return LedgerDeclaration(f"LEDGER_{own}", f"{own}.ledger", timedelta(days=35))


@pytest.fixture
def ledger(nats_server: NatsServer, declaration: LedgerDeclaration) -> Iterator[Ledger]:
    with Ledger(NatsAccess((nats_server.url,)), declaration) as ledger:
        yield ledger


@pytest.fixture
def arrived() -> Arrived:
    return Arrived()


@pytest.fixture
def start(ledger: Ledger, arrived: Arrived) -> Iterator[Start]:
    """Starts a process that sends from the database at this address."""
    with ExitStack() as stack:

        def begin(url: str) -> Process:
            process = Process(url, ledger, arrived)
            stack.callback(process.close)
            return process

        yield begin


@pytest.fixture
def back_up(postgres_server: PostgresServer) -> Iterator[BackUp]:
    """Copies a database as it is now; returns the address of the copy."""
    with ExitStack() as stack:

        def copy(url: str) -> str:
            backup: AbstractContextManager[str] = copied(postgres_server.url("postgres"), url)
            return stack.enter_context(backup)

        yield copy
