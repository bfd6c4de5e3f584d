"""Children live apart from the terminal, are read by line, stopped step by step, and found again by their mark."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from guestguard_dagster.local.child import Child, marked_environ, marked_processes, stop_marked, stop_processes

_IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
_HAS_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_IGNORES_SIGTERM!r}])"

_STARTS_ANOTHER_WHEN_STOPPED = """
import signal, subprocess, sys, time
def start_another(*_):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    sys.exit()
signal.signal(signal.SIGTERM, start_another)
print("up", flush=True)
time.sleep(600)
"""
_SAYS_GOODBYE = """
import signal, sys, time
def say_goodbye(*_):
    print("goodbye", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, say_goodbye)
print("up", flush=True)
time.sleep(600)
"""
_STARTER = """
import os, sys, time
from pathlib import Path
from guestguard_dagster.local.child import Child
child = Child("test", [sys.executable, "-c", "import time; time.sleep(600)"], cwd=Path(sys.argv[1]), environ=os.environ)
print(child.pid, flush=True)
time.sleep(600)
"""


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

    assert stop_marked(tmp_path, "test", grace_seconds=0.2) == 1
    assert marked_processes(tmp_path) == []


def test_what_a_process_starts_on_its_way_down_is_stopped_too(tmp_path: Path) -> None:
    child = _child(_STARTS_ANOTHER_WHEN_STOPPED, tmp_path)
    _wait_for_output(child)
    assert stop_marked(tmp_path, grace_seconds=10) == 2
    assert marked_processes(tmp_path) == []
    child.stop()


def test_the_mark_tells_folders_and_services_apart(tmp_path: Path) -> None:
    child = _child(_IGNORES_SIGTERM, tmp_path)
    assert [process.pid for process in marked_processes(tmp_path)] == [child.pid]
    assert marked_processes(tmp_path, "other") == []
    assert marked_processes(tmp_path / "other") == []
    assert marked_processes(tmp_path.parent) == []
    child.stop()


def test_no_child_outlives_a_killed_starter_where_the_platform_can_do_that(tmp_path: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", _STARTER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    child = psutil.Process(int(starter.stdout.readline()))
    starter.kill()
    starter.wait()
    starter.stdout.close()
    if sys.platform == "linux":
        child.wait(30)
    else:
        child.kill()


def test_frozen_processes_are_stopped_too(tmp_path: Path) -> None:
    child = _child(_SAYS_GOODBYE, tmp_path)
    _wait_for_output(child)
    frozen = psutil.Process(child.pid)
    frozen.suspend()
    stop_processes([frozen], grace_seconds=60)
    assert child.output == "up\ngoodbye"


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
