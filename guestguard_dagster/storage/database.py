"""Connections: one engine per process, short transactions, and the database's clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, Engine, create_engine, func, select
from sqlalchemy.engine import make_url

_CONNECT_TIMEOUT_SECONDS = 10
_STATEMENT_TIMEOUT_MS = 120_000


class DatabaseUrlInvalid(ValueError):
    """DATABASE_URL is not a PostgreSQL address. The text never carries the URL itself."""


class Database:
    """A pool of connections to GuestGuard's PostgreSQL database.

    `url` is any `postgresql://` address (host and port, or a socket folder as `?host=`); it is read with psycopg 3.
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
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=pool_size,
            max_overflow=5,
            pool_pre_ping=True,
            pool_recycle=1800,
            hide_parameters=True,
            connect_args={
                "application_name": application_name,
                "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
                "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c timezone=UTC",
            },
        )

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back on any error.

        With `durable=False` the commit does not wait for the disk: only for rows whose loss is harmless (a lease).
        """
        with self.engine.begin() as connection:
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    def now(self) -> datetime:
        """The database's clock, which all processes and hosts share."""
        with self.engine.connect() as connection:
            moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return moment

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
