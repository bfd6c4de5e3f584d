"""Connections: one engine per process, short transactions, and the database's clock."""

import select as readiness
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.errors import Diagnostic
from sqlalchemy import Connection, Engine, TextClause, create_engine, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from guestguard_dagster.storage.sessions import DRIVER

_CONNECT_TIMEOUT_SECONDS = 10

# Without any SQLSTATE the connection broke. 08 is a connection exception, 57P a server that shuts down or starts up,
# 25P03 and 25P04 end the connection of a process that was frozen in a transaction.
_CONNECTION_ENDED = ("08", "57P", "25P03", "25P04")

# Which database answers: another one after a failover, and after a restore into a new one, also behind a pooler that
# keeps the client's connection.
DATABASE_IDENTITY = """(
    SELECT CAST(pg_postmaster_start_time() AS text) || ' ' || CAST(oid AS text)
    FROM pg_database WHERE datname = current_database()
)"""


class DatabaseUrlInvalid(ValueError):
    """DATABASE_URL is not a PostgreSQL address. The text never carries the URL itself."""


class DatabaseFailed(Exception):
    """PostgreSQL refused a statement. The text names the error, not the values, which the driver's own text would."""

    def __init__(self, sentence: str, *, sqlstate: str | None = None) -> None:
        super().__init__(sentence)
        self.sqlstate = sqlstate


class DatabaseUnavailable(DatabaseFailed):
    """PostgreSQL cannot be reached, or went away during the call: what was under way may or may not be committed."""


class Database:
    """A pool of connections to GuestGuard's PostgreSQL database.

    `url` is any `postgresql://` address (host and port, or a socket folder as `?host=`), of PostgreSQL itself or of a
    PgBouncer before it; it is read with psycopg 3.
    """

    def __init__(self, url: str, *, application_name: str = "guestguard", pool_size: int = 5) -> None:
        try:
            parsed = make_url(url)
        except Exception:
            raise DatabaseUrlInvalid(
                "DATABASE_URL cannot be read as an address; write it like postgresql://user:password@host:5432/database"
            ) from None
        if not parsed.drivername.startswith("postgres"):
            raise DatabaseUrlInvalid(
                f"DATABASE_URL names the database kind {parsed.drivername!r}; GuestGuard needs postgresql://"
            )
        self.engine: Engine = create_engine(
            parsed.set(drivername=DRIVER),
            pool_size=pool_size,
            max_overflow=5,
            pool_recycle=1800,
            hide_parameters=True,
            connect_args={
                "application_name": application_name,
                "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
                # The kernel finds out when the other end is gone without a word.
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
            },
        )
        event.listen(self.engine, "checkout", _discard_if_closed)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back on any error.

        With `durable=False` the commit does not wait for the disk: only for rows whose loss is harmless (a lease).
        Raises DatabaseUnavailable and DatabaseFailed in place of the driver's errors.
        """
        try:
            with self.engine.begin() as connection:
                if not durable:
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield connection
        except DBAPIError as error:
            raise _failure(error) from None
        except NoFreeConnection:
            raise DatabaseUnavailable("all connections to the database are busy; try again in a moment") from None

    def now(self) -> datetime:
        """The database's clock, which all processes and hosts share."""
        with self.transaction() as connection:
            return database_now(connection)

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def database_now(connection: Connection) -> datetime:
    """The database's clock, seen from within a transaction."""
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment


@lru_cache(None)
def sql(statement: str) -> TextClause:
    """`text`, built once for each statement: the hot paths run the same few over and over."""
    return text(statement)


def _discard_if_closed(connection: psycopg.Connection[Any], *_: object) -> None:
    """Ask a pooled connection whether it stands, but only if the server wrote to it since: silence means that it does.

    A round trip before every transaction would cost as much as a short statement.
    """
    socket = readiness.poll()
    try:
        socket.register(connection.fileno(), readiness.POLLIN)
        if not socket.poll(0):
            return
        with connection.transaction():
            connection.execute("SELECT 1")
    except psycopg.Error:
        raise InvalidatePoolError from None


def _failure(error: DBAPIError) -> DatabaseFailed:
    sqlstate = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or sqlstate is None or sqlstate.startswith(_CONNECTION_ENDED):
        return DatabaseUnavailable(
            "the database cannot be reached, or the connection to it was lost; check that PostgreSQL runs",
            sqlstate=sqlstate,
        )
    diagnosis: Diagnostic | None = getattr(error.orig, "diag", None)
    # Of data exceptions (22) even the primary message quotes values; everywhere else only the detail does.
    said = None if diagnosis is None or sqlstate.startswith("22") else diagnosis.message_primary
    return DatabaseFailed(
        f"the database refused a statement: {said or type(error.orig).__name__} (SQLSTATE {sqlstate})",
        sqlstate=sqlstate,
    )
