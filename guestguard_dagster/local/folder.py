"""The data folder of one checkout, `.guestguard/`: who runs on it, which ports it was given, its secret key."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from guestguard_dagster.local.errors import LocalServiceError

DEFAULT_NAME = ".guestguard"


class AlreadyRunning(LocalServiceError):
    """Another process runs the services of this folder."""


@dataclass(frozen=True, slots=True)
class Running:
    """Who runs the services of a folder, and the settings that reach them. `environ` carries secrets."""

    pid: int
    command: str
    environ: Mapping[str, str]


class DataFolder:
    """One checkout's folder. Made when it is first used; everything in it is for its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def make(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LocalServiceError(f"the folder {self.path} cannot be made: {error.strerror}") from error

    @contextmanager
    def locked_by(self, command: str) -> Iterator[None]:
        """Be the only one that runs services here. Raises AlreadyRunning, with the other's process id."""
        self.make()
        self._running_file.touch(mode=0o600)
        with self._running_file.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = self.running()
                who = f"`{other.command}` (process {other.pid})" if other else "another guestguard command"
                raise AlreadyRunning(
                    f"{who} is already running in {self.path.parent}; stop it with Ctrl-C there"
                    + (f", or with `kill {other.pid}`" if other else "")
                ) from None
            self.announce(command, {})
            try:
                yield
            finally:
                self._running_file.write_text("")

    def announce(self, command: str, environ: Mapping[str, str]) -> None:
        """Let other commands know how to reach what this process runs. Call while holding the lock."""
        self._write_privately(
            self._running_file, json.dumps({"pid": os.getpid(), "command": command, "environ": dict(environ)})
        )

    def running(self) -> Running | None:
        """Who holds the lock now, or None."""
        try:
            with self._running_file.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return _running_from(_read_json(file.read()))
        except FileNotFoundError:
            pass
        return None

    def remembered(self, what: str) -> dict[str, object]:
        """What `remember` was last told under this name; empty when that was never, or the file is damaged."""
        found = self._memory().get(what)
        return found if isinstance(found, dict) else {}

    def remember(self, what: str, values: Mapping[str, object]) -> None:
        memory = {**self._memory(), what: dict(values)}
        unfinished = self._memory_file.with_suffix(".unfinished")
        self._write_privately(unfinished, json.dumps(memory, indent=2) + "\n")
        unfinished.rename(self._memory_file)

    def secret_key(self) -> str:
        """The key that signs the links in mails: made once, kept from then on."""
        path = self.path / "secret_key"
        key = path.read_text().strip() if path.exists() else ""
        if not key:
            key = secrets.token_urlsafe(48)
            self._write_privately(path, key + "\n")
        return key

    @property
    def _running_file(self) -> Path:
        return self.path / "running.json"

    @property
    def _memory_file(self) -> Path:
        return self.path / "state.json"

    def _memory(self) -> dict[str, object]:
        return _read_json(self._memory_file.read_text()) if self._memory_file.exists() else {}

    @staticmethod
    def _write_privately(path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)


def _running_from(found: Mapping[str, object]) -> Running | None:
    match found:
        case {"pid": int(pid), "command": str(command), "environ": dict(environ)}:
            return Running(pid, command, environ)
        case _:
            # The other one holds the lock, but has not written yet.
            return None


def _read_json(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
