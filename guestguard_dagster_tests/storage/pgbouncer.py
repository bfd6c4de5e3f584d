"""Debian's PgBouncer before a PostgreSQL server, as administrators run it: in transaction mode, with a small pool."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from guestguard_dagster.local.child import Child
from guestguard_dagster.local.errors import PortTaken
from guestguard_dagster.local.ports import LOOPBACK, start_on_free_port
from guestguard_dagster.local.postgres import PostgresServer

POOL_SIZE = 3

_START_SECONDS = 10
_CONFIG = """
[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool_size}
"""


class PgBouncer:
    """A running PgBouncer."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self._port = port

    def url(self, direct_url: str) -> str:
        """The address of the same database, through this PgBouncer."""
        return make_url(direct_url).set(port=self._port).render_as_string(hide_password=False)


@contextmanager
def run_pgbouncer(server: PostgresServer) -> Iterator[PgBouncer]:
    folder = Path(tempfile.mkdtemp(prefix="guestguard-pgbouncer-"))
    folder.chmod(0o711)
    pgbouncer = start_on_free_port(lambda port: _start(folder, server, port))
    try:
        yield pgbouncer
    finally:
        pgbouncer.child.stop()
        shutil.rmtree(folder)


def _start(folder: Path, server: PostgresServer, port: int) -> PgBouncer:
    binary = shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if binary is None:
        raise FileNotFoundError("PgBouncer is not installed; on Debian and Ubuntu: apt install pgbouncer")
    address = make_url(server.url("postgres"))
    users, config = folder / "users", folder / "pgbouncer.ini"
    users.write_text(f'"{address.username}" "{address.password}"\n')
    config.write_text(
        _CONFIG.format(host=LOOPBACK, server_port=server.port, port=port, users=users, pool_size=POOL_SIZE)
    )
    # It refuses to run as root.
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    child = Child("pgbouncer", [binary, *user, str(config)], cwd=folder, environ=os.environ)
    pgbouncer = PgBouncer(child, port)
    _wait_until_it_answers(pgbouncer, server, port)
    return pgbouncer


def _wait_until_it_answers(pgbouncer: PgBouncer, server: PostgresServer, port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if pgbouncer.child.exit_code is not None:
            if "in use" in pgbouncer.child.output:
                raise PortTaken(port, "PgBouncer")
            break
        try:
            psycopg.connect(pgbouncer.url(server.url("postgres"))).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    pgbouncer.child.stop()
    raise RuntimeError(f"PgBouncer does not answer: {pgbouncer.child.output}")
