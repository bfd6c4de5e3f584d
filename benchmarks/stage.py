"""Where the benches happen: a PostgreSQL server of their own that waits for the disk, and a fresh database for each."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from guestguard_dagster.domain.events import Event
from guestguard_dagster.local.ports import start_on_free_port
from guestguard_dagster.local.postgres import PostgresServer, start_postgres
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import migrate
from guestguard_dagster_tests.factories import make_event, make_user

REPOSITORY = Path(__file__).parents[1]
CACHE = REPOSITORY / ".guestguard" / "bench"

FROM_EMAIL = "events@guestguard.example"
SECRET_KEY = "signs links that nobody follows"


@dataclass(frozen=True, slots=True)
class Stage:
    server: PostgresServer
    # the working directory of runs: without a .env of ours
    folder: Path

    @contextmanager
    def database(self, name: str) -> Iterator[tuple[Database, str]]:
        """A fresh, migrated database and its address; dropped in the end."""
        self.server.ensure_database(name)
        url = self.server.url(name)
        with Database(url, application_name="guestguard-bench") as database:
            migrate(database)
            yield database, url
        with Database(self.server.url("postgres")) as admin:
            statement = text(f"DROP DATABASE {name} WITH (FORCE)")
            with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(statement)

    def python(self, module: str, environ: dict[str, str]) -> subprocess.Popen[str]:
        """A module of the benches as a process of its own, spoken to by lines. What it logs goes into a file."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        with self._log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=self.folder,
                env=inherited | {"PYTHONPATH": str(REPOSITORY)} | environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def last_words(self) -> str:
        """The end of what its processes logged."""
        return "\n".join(self._log.read_text().splitlines()[-20:]) if self._log.exists() else ""


@contextmanager
def open_stage() -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="guestguard-bench-"))
    server = start_on_free_port(lambda port: start_postgres(folder / "postgres", port=port))
    try:
        yield Stage(server, folder)
    finally:
        server.stop()
        shutil.rmtree(folder)


def make_big_event(database: Database, guests: int) -> Event:
    """An event with so many guests, each with an address and a token of its own."""
    event = make_event(database, owner=make_user(database, name="Hanna Host", email="hanna@example.com"))
    with database.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO guests (event_id, name, email, rsvp_token) "
                "SELECT :event_id, 'Guest ' || n, 'guest-' || n || '@example.com', md5(n::text || 'token') "
                "FROM generate_series(1, :guests) AS n"
            ),
            {"event_id": event.id, "guests": guests},
        )
    vacuum(database)
    return event


def vacuum(database: Database) -> None:
    """Let the planner know what is there, so that no bench depends on when autovacuum comes by."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
