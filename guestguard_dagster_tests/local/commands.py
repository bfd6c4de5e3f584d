"""Starts `guestguard` commands as a person would, in a folder of their own, and looks at what they leave behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from guestguard_dagster.local.child import MARK
from guestguard_dagster.settings import Settings

REPOSITORY = Path(__file__).parents[2]
IS_RUNNING = "GuestGuard is running."
_SECONDS = 240


@contextmanager
def project_folder() -> Iterator[Path]:
    """A folder with the project's two Dagster files, as a checkout has them. No process may be left in the end."""
    folder = Path(tempfile.mkdtemp(prefix="guestguard-project-"))
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    try:
        yield folder
        assert left_behind(folder) == []
    finally:
        for process in _processes_of(folder):
            with suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


class Command:
    """A running `guestguard` command; its output is in `output` of its folder."""

    def __init__(self, project: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self.project = project
        self._output = project / f"output-{time.monotonic_ns()}.txt"
        bare = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from guestguard_dagster.cli import main; main()", *arguments],
                cwd=project,
                env={**bare, **(environ or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_listen_to_signals,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(how)
        return self.wait()

    def kill(self) -> None:
        """As if the machine had run out of memory; what it started is frozen first, or much would end with it."""
        for process in _processes_of(self.project.resolve() / ".guestguard"):
            process.suspend()
        self.stop(signal.SIGKILL)

    def wait(self) -> int:
        return self.process.wait(_SECONDS)


def _listen_to_signals() -> None:
    """As in a terminal: a process started by `nohup` or with `&` hands on that SIGHUP and SIGINT are ignored."""
    for each in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)


def run(project: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command to its end; returns (exit code, output)."""
    command = Command(project, *arguments, environ=environ)
    return command.wait(), command.output


def left_behind(project: Path) -> list[str]:
    """The command lines of all processes that belong to the project's data folder, PostgreSQL's included."""
    return list(_processes_of(project.resolve() / ".guestguard").values())


def _processes_of(folder: Path) -> dict[psutil.Process, str]:
    found = {}
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            traces = (process.cwd(), process.environ().get(MARK, ""))
            if (str(folder) in command or any(trace.startswith(str(folder)) for trace in traces)) and (
                process.status() != psutil.STATUS_ZOMBIE
            ):
                found[process] = command
        except psutil.Error:
            continue
    return found
