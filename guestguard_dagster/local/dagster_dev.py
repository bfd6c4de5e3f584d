"""`dagster dev` as a child: the webserver, the daemon and the code server, all from the project's own files."""

import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import requests

from guestguard_dagster.local.child import Child, LineSink, marked_environ, stop_marked
from guestguard_dagster.local.errors import LocalServiceError, PortTaken
from guestguard_dagster.local.ports import LOOPBACK

# Twice what a slow machine with two cores needs.
START_SECONDS = 240
_STOP_SECONDS = 25
# An impatient question would be asked again while Dagster still works on the first, and slow it down further.
_ANSWER_SECONDS = 60

SERVICE = "dagster"

_CODE_STATUS_QUERY = """
query CodeStatus {
  instance { info }
  workspaceOrError {
    ... on Workspace {
      locationEntries {
        name
        loadStatus
        locationOrLoadError { __typename ... on PythonError { message } }
      }
    }
    ... on PythonError { message }
  }
}
"""


class DagsterDev:
    """A running `dagster dev` at `url`."""

    def __init__(self, child: Child, port: int, data_folder: Path, home: Path) -> None:
        self.child = child
        self.port = port
        self.home = home
        self._data_folder = data_folder

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        """Stop it, then the code servers and runs that it leaves behind."""
        self.child.stop((signal.SIGTERM, _STOP_SECONDS))
        stop_marked(self._data_folder, SERVICE, grace_seconds=_STOP_SECONDS)

    def run_url(self, run_id: str) -> str:
        return f"{self.url}/runs/{run_id}"


def start_dagster(
    project: Path, data_folder: Path, *, port: int, environ: Mapping[str, str], sink: LineSink
) -> DagsterDev:
    """Start it for the project's workspace.yaml and dagster.yaml and return once its pages and our code are loaded.

    Raises PortTaken, and LocalServiceError with a sentence when it cannot.
    """
    home = _make_home(project, data_folder)
    command = [
        *(sys.executable, "-m", "dagster", "dev"),
        *("--workspace", str(project / "workspace.yaml"), "--port", str(port), "--log-format", "json"),
    ]
    # Not in the project's folder: there Dagster would load .env over the addresses that are given here.
    environ = marked_environ({**environ, "DAGSTER_HOME": str(home)}, data_folder, SERVICE)
    child = Child(SERVICE, command, cwd=home, environ=environ, sink=sink)
    dagster = DagsterDev(child, port, data_folder, home)
    try:
        _wait_until_loaded(dagster)
    except BaseException:
        dagster.stop()
        raise
    return dagster


def check_project(project: Path) -> None:
    """Raises LocalServiceError unless Dagster's two files are here."""
    for name in ("dagster.yaml", "workspace.yaml"):
        if not (project / name).exists():
            raise LocalServiceError(f"there is no {name} in {project}; run this command in the project's folder")


def _make_home(project: Path, data_folder: Path) -> Path:
    home = data_folder / "dagster_home"
    home.mkdir(mode=0o700, exist_ok=True)
    link = home / "dagster.yaml"
    link.unlink(missing_ok=True)
    link.symlink_to(project / "dagster.yaml")
    return home


def _wait_until_loaded(dagster: DagsterDev) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if dagster.child.exit_code is not None:
            raise LocalServiceError(f"Dagster stopped while starting: {_last_words(dagster.child)}")
        # `dagster dev` goes on without its webserver.
        if f"('{LOOPBACK}', {dagster.port}): address already in use" in dagster.child.output:
            raise PortTaken(dagster.port, "Dagster")
        status = _code_status(dagster)
        if status == "loaded":
            return
        if status is not None:
            raise LocalServiceError(f"Dagster cannot load the code: {status}")
        time.sleep(0.25)
    raise LocalServiceError(f"Dagster did not answer within {START_SECONDS} seconds: {_last_words(dagster.child)}")


def _code_status(dagster: DagsterDev) -> str | None:
    """`loaded`, or why our code cannot be loaded, or None while neither is known."""
    try:
        answer = requests.post(f"{dagster.url}/graphql", json={"query": _CODE_STATUS_QUERY}, timeout=_ANSWER_SECONDS)
        data = answer.json()["data"]
        workspace, instance = data["workspaceOrError"], data["instance"]["info"]
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return None
    # Another Dagster may have taken the port a moment before ours.
    if str(dagster.home) not in instance:
        return None
    if "message" in workspace:
        return _first_line(workspace["message"])
    entries = workspace["locationEntries"]
    if not entries or any(entry["loadStatus"] != "LOADED" for entry in entries):
        return None
    problems = [entry["locationOrLoadError"] for entry in entries]
    failed = [problem for problem in problems if problem and problem["__typename"] == "PythonError"]
    return _first_line(failed[0]["message"]) if failed else "loaded"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "it did not say why")


def _last_words(child: Child) -> str:
    return _first_line("\n".join(reversed(child.output.splitlines())))
