"""A PostgreSQL server that writes to disk as in production, to be killed and started again."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import psycopg

from guestguard_dagster.local.ports import start_on_free_port
from guestguard_dagster.local.postgres import PostgresServer, start_postgres
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import migrate

_TEMPLATE = "migrated_template"


class FragilePostgres:
    """In a temporary folder, on a free port that stays the same. Use it as a context manager."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="guestguard-fragile-"))
        self._server = start_on_free_port(self._start)

    def __enter__(self) -> Self:
        try:
            self._server.ensure_database(_TEMPLATE)
            with Database(self._server.url(_TEMPLATE)) as template:
                migrate(template)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @contextmanager
    def new_database(self) -> Iterator[Database]:
        """A migrated database of its own."""
        name = f"crash_{uuid4().hex}"
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}"')
        with Database(self._server.url(name), application_name="guestguard-tests") as database:
            yield database
        # A server that was killed looks through all its files when it starts again: the fewer, the faster.
        self._administer(f'DROP DATABASE "{name}" WITH (FORCE)')

    @contextmanager
    def back_up(self, database: Database) -> Iterator[Database]:
        """A copy of a database as it is now; nobody but `database` may be connected to it."""
        name, copy = database.engine.url.database, f"crash_{uuid4().hex}"
        database.engine.dispose()
        # PostgreSQL waits some seconds for connections that are just ending.
        self._administer(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')
        with Database(self._server.url(copy), application_name="guestguard-tests") as backup:
            yield backup
        self._administer(f'DROP DATABASE "{copy}" WITH (FORCE)')

    def kill(self) -> None:
        """SIGKILL: nothing is written any more, and all connections break."""
        self._server.child.stop((signal.SIGKILL, 10.0))

    def start_again(self) -> None:
        self._server = self._start(self._server.port)

    def _close(self) -> None:
        self._server.stop()
        shutil.rmtree(self._folder)

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self._server.url("postgres"), autocommit=True) as admin:
            admin.execute(statement.encode())

    def _start(self, port: int) -> PostgresServer:
        return start_postgres(self._folder, port=port, durable=True)
