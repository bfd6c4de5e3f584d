"""Children live apart from the terminal, are read by line, stopped step by step, and found again by their mark."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from guestguard_dagster.local.child import Child, marked_environ, marked_processes, stop_processes

_IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
_HAS_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_IGNORES_SIGTERM!r}])"


def test_every_line_goes_to_the_sink_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    child = _child("print('one'); print('two')", tmp_path, sink=lambda service, line: lines.append((service, line)))
    assert child.wait(30) == 0
    assert child.output == "one\ntwo"
    assert lines == [("test", "one"), ("test", "two")]


def test_a_child_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    child = _child(_IGNORES_SIGTERM, tmp_path)
    _wait_for_output(child)
    child.stop((signal.SIGTERM, 0.2))
    assert child.exit_code == -signal.SIGKILL


def test_a_child_does_not_get_the_terminals_ctrl_c(tmp_path: Path) -> None:
    child = _child(_IGNORES_SIGTERM, tmp_path)
    assert os.getpgid(child.pid) != os.getpgid(0)
    child.stop()


def test_grandchildren_are_found_by_the_mark_when_the_child_is_gone(tmp_path: Path) -> None:
    child = _child(_HAS_A_CHILD, tmp_path)
    _wait_for_output(child)
    child.stop((signal.SIGKILL, 5.0))

    left = marked_processes(tmp_path, "test")
    assert len(left) == 1
    stop_processes(left, grace_seconds=0.2)
    assert marked_processes(tmp_path) == []


def test_the_mark_tells_folders_and_services_apart(tmp_path: Path) -> None:
    child = _child(_IGNORES_SIGTERM, tmp_path)
    assert [process.pid for process in marked_processes(tmp_path)] == [child.pid]
    assert marked_processes(tmp_path, "other") == []
    assert marked_processes(tmp_path / "other") == []
    assert marked_processes(tmp_path.parent) == []
    child.stop()


def test_a_process_that_ends_meanwhile_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    ended = psutil.Process(process.pid)
    process.wait()
    stop_processes([ended], grace_seconds=0.1)


def _child(code: str, folder: Path, **options: object) -> Child:
    environ = marked_environ(os.environ, folder, "test")
    return Child("test", [sys.executable, "-c", code], cwd=folder, environ=environ, **options)  # type: ignore[arg-type]


def _wait_for_output(child: Child) -> None:
    while not child.output:
        assert child.wait(0.02) is None
