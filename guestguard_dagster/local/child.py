"""Child processes: started apart from our terminal, read line by line, stopped step by step, and found again.

A child carries the mark of its data folder and service in its environment and hands it on to its own children: that is
how the next start finds what a killed one left behind, and how a stop finds what escaped it.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "GUESTGUARD_CHILD_OF"

_STOP_ROUNDS = 5

# Called with (service, line) for every line that a child prints.
LineSink = Callable[[str, str], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """Who a child runs as; the default is whoever started it."""

    uid: int | None = None
    gid: int | None = None

    @property
    def extra_groups(self) -> list[int] | None:
        return None if self.uid is None else []


def ignore_lines(service: str, line: str) -> None:
    """The sink of those who only read `Child.recent_lines`."""


class Child:
    """One child process of ours.

    It has a session of its own, because Ctrl-C is for the process that started it: that one stops its children in
    order. Everything it prints goes to `sink`; the last lines are kept. On Linux it ends with the thread that started
    it, however that one ends.
    """

    def __init__(
        self,
        service: str,
        command: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        sink: LineSink = ignore_lines,
        account: Account | None = None,
    ) -> None:
        account = account or Account()
        self.service = service
        self.recent_lines: deque[str] = deque(maxlen=200)
        self._sink = sink
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environ,
            text=True,
            errors="replace",
            start_new_session=True,
            user=account.uid,
            group=account.gid,
            extra_groups=account.extra_groups,
            preexec_fn=_end_with_the_starter,
        )
        self._reader = threading.Thread(target=self._read_lines, name=f"{service}-output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """The last lines that it printed; all of them once it has exited."""
        if self.exit_code is not None:
            self.drain()
        return "\n".join(self.recent_lines.copy())

    def wait(self, seconds: float) -> int | None:
        """Wait for the process to end by itself; None when it is still running after these seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, *steps: tuple[signal.Signals, float]) -> None:
        """Send each signal in turn and wait its seconds, until the process is gone; SIGKILL after the last."""
        for how, seconds in (*steps, (signal.SIGKILL, 10.0)):
            if self.exit_code is not None:
                break
            self._process.send_signal(how)
            if self.wait(seconds) is None:
                _log.warning("%s did not stop within %g seconds of %s", self.service, seconds, how.name)

    def drain(self) -> None:
        """Let the last lines reach the sink. A grandchild that still runs may hold the output open: wait a little."""
        self._reader.join(2)

    def _read_lines(self) -> None:
        output = self._process.stdout
        if output is None:
            return
        with output:
            for line in output:
                self.recent_lines.append(line.rstrip("\n"))
                self._sink(self.service, line.rstrip("\n"))


def marked_environ(environ: Mapping[str, str], data_folder: Path, service: str) -> dict[str, str]:
    """The environment with the mark of the data folder and the service."""
    return {**environ, MARK: _mark(data_folder, service)}


def marked_processes(data_folder: Path, service: str = "") -> list[psutil.Process]:
    """The living processes that carry the mark of the data folder, of one service or of all.

    PostgreSQL's are not among them: they stop differently, see `postgres.stop_leftovers`.
    """
    mark = _mark(data_folder, service)
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres" or process.pid == os.getpid():
            continue
        try:
            if process.environ().get(MARK, "").startswith(mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            continue
    return found


def _mark(data_folder: Path, service: str) -> str:
    return f"{data_folder.resolve()}:{service}"


def stop_marked(data_folder: Path, service: str = "", *, grace_seconds: float) -> int:
    """Stop the marked processes, also those that they start on their way down; returns how many there were."""
    stopped = 0
    for _ in range(_STOP_ROUNDS):
        processes = marked_processes(data_folder, service)
        if not processes:
            break
        stop_processes(processes, grace_seconds=grace_seconds)
        stopped += len(processes)
    return stopped


def stop_processes(
    processes: Sequence[psutil.Process], *, grace_seconds: float, how: signal.Signals = signal.SIGTERM
) -> None:
    """Send the signal, also to those that are frozen, then SIGKILL to those that are still there after the grace."""
    for sent, seconds in ((how, grace_seconds), (signal.SIGKILL, 10.0)):
        for process in processes:
            try:
                process.send_signal(sent)
                process.send_signal(signal.SIGCONT)
            except psutil.NoSuchProcess:
                continue
        _, processes = psutil.wait_procs(processes, timeout=seconds)


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _end_with_the_starter() -> None:
    # Runs between fork and exec. SIGINT is what lets PostgreSQL shut down at once; the others take it as well.
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
