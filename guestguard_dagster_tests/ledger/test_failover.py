"""A failover to an asynchronous replica is a restore: what the replica had not received yet, the ledger knows."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from guestguard_dagster.delivery.ledger import Verdict, check, keep
from guestguard_dagster.local import postgres
from guestguard_dagster.local.ports import start_on_free_port
from guestguard_dagster.local.postgres import PostgresServer, start_postgres
from guestguard_dagster.operations.ledger_replay import replay
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import migrate
from guestguard_dagster.streams.ledger import Ledger
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.factories import make_event, make_guests, make_message
from guestguard_dagster_tests.ledger.conftest import Start
from guestguard_dagster_tests.ledger.sending import Arrived

GUESTS = 40
_NAME = "failing_over"


class Replicated:
    """A primary, and a replica that streams from it and may be cut off and promoted."""

    def __init__(self, folder: Path) -> None:
        self._replica_folder = folder / "replica"
        self.primary = start_on_free_port(lambda port: start_postgres(folder / "primary", port=port, durable=False))
        self.primary.ensure_database(_NAME)
        self._copy(folder / "primary")
        self.replica = start_on_free_port(lambda port: start_postgres(self._replica_folder, port=port, durable=False))

    def _copy(self, primary_folder: Path) -> None:
        self._replica_folder.mkdir()
        shutil.copy2(primary_folder / "password", self._replica_folder / "password")
        data = self._replica_folder / "data"
        program = str(postgres._binary("pg_basebackup"))
        command = [
            program,
            "-D",
            str(data),
            "-R",
            "--checkpoint=fast",
            "-X",
            "stream",
            "-d",
            self.primary.url("postgres"),
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=primary_folder)
        owner = (primary_folder / "data").stat()
        for path in (self._replica_folder / "password", data, *data.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def url(self, server: PostgresServer) -> str:
        return server.url(_NAME)

    def wait_until_received(self) -> None:
        with psycopg.connect(self.url(self.primary), autocommit=True) as connection:
            # Not what is written by now: commits of this server do not wait for that.
            (written,) = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or ("0/0",)
        with psycopg.connect(self.url(self.replica), autocommit=True) as connection:
            wait_until(
                lambda: (
                    connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (written,)).fetchone()
                    == (True,)
                ),
                "the replica has everything",
                every_seconds=0.02,
            )

    def cut_off(self) -> None:
        """The network between the two is gone, and the primary does not wait for the replica."""
        with psycopg.connect(self.url(self.replica), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
            wait_until(
                lambda: connection.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() == (0,),
                "the replica receives nothing any more",
                every_seconds=0.02,
            )

    def fail_over(self) -> None:
        self.primary.stop()
        with psycopg.connect(self.url(self.replica), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def stop(self) -> None:
        self.replica.stop()
        self.primary.stop()


@pytest.fixture
def replicated() -> Iterator[Replicated]:
    folder = Path(tempfile.mkdtemp(prefix="guestguard-replicated-"))
    servers = Replicated(folder)
    with Database(servers.url(servers.primary)) as database:
        migrate(database)
    yield servers
    servers.stop()
    shutil.rmtree(folder)


def test_after_a_failover_to_an_asynchronous_replica_nobody_gets_a_message_twice(
    replicated: Replicated, ledger: Ledger, arrived: Arrived, start: Start
) -> None:
    process = start(replicated.url(replicated.primary))
    event = make_event(process.database)
    make_guests(process.database, event, GUESTS)
    message = make_message(process.database, event)
    process.freeze(message)
    assert process.send(batches=2) == 2
    keep(process.database, ledger)
    replicated.wait_until_received()
    replicated.cut_off()
    assert process.send(batches=3) == 3
    assert arrived.of(message) == 25
    process.close()
    replicated.fail_over()

    promoted = start(replicated.url(replicated.replica))
    assert promoted.send() == 0
    standing = check(promoted.database, ledger)
    assert standing.verdict is Verdict.BEHIND
    assert "failed over" in standing.sentence
    report = replay(promoted.database, ledger)
    assert (report.changed, report.gaps) == ({message.id: 15}, [])
    assert start(replicated.url(replicated.replica)).send() == 3
    assert (arrived.of(message), arrived.doubled) == (GUESTS, [])


def test_a_replica_that_had_received_everything_goes_on_at_once(
    replicated: Replicated, arrived: Arrived, start: Start
) -> None:
    process = start(replicated.url(replicated.primary))
    event = make_event(process.database)
    make_guests(process.database, event, GUESTS)
    message = make_message(process.database, event)
    process.freeze(message)
    assert process.send(batches=5) == 5
    process.close()
    replicated.wait_until_received()
    replicated.fail_over()
    assert start(replicated.url(replicated.replica)).send() == 3
    assert (arrived.of(message), arrived.doubled) == (GUESTS, [])
