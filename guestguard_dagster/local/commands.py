"""What `guestguard up`, `services`, `migrate` and `demo` do, and what they tell the person who runs them."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from guestguard_dagster import logs
from guestguard_dagster.local.banner import show_addresses
from guestguard_dagster.local.child_logs import ChildLogs
from guestguard_dagster.local.console import tell
from guestguard_dagster.local.dagster_dev import check_project
from guestguard_dagster.local.demo import run_demo_on
from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.folder import DEFAULT_NAME, DataFolder
from guestguard_dagster.local.here import settings_here
from guestguard_dagster.local.plan import Plan, plan_all_local, plan_from_settings
from guestguard_dagster.local.signals import StopRequested, stop_requests
from guestguard_dagster.local.stack import Stack
from guestguard_dagster.local.upgrade import upgrade_database

_LOOK_SECONDS = 0.5


def run_up(project: Path, ports: Mapping[str, int]) -> int:
    """Everything, until someone asks to stop. Returns the exit code."""
    plan = plan_from_settings(project)
    check_project(project)
    with _stack("guestguard up", project, plan, ports, console_level=_console_level(plan)) as stack:
        stack.start_services()
        stack.start_pages()
        stack.announce("guestguard up")
        show_addresses(stack)
        _watch(stack)
    return 0


def run_services(project: Path, ports: Mapping[str, int]) -> int:
    """PostgreSQL, NATS and the mail catcher, until someone asks to stop. Returns the exit code."""
    plan = plan_from_settings(project)
    with _stack("guestguard services", project, plan, ports, console_level=_console_level(plan)) as stack:
        stack.start_services()
        written = stack.write_env_file()
        stack.announce("guestguard services")
        show_addresses(stack)
        tell(f"  Written to .env: {', '.join(written) or 'nothing, all of it is set'}")
        tell("  Now `dagster dev` works in this folder.\n")
        _watch(stack)
    return 0


def run_demo(project: Path, ports: Mapping[str, int], *, keep: bool) -> int:
    """The demo. Returns the exit code: 0 when every mail arrived."""
    check_project(project)
    exit_code = 130
    with _stack("guestguard demo", project, plan_all_local(), ports, console_level=None) as stack:
        stack.start_services()
        stack.start_pages()
        stack.announce("guestguard demo")
        run_demo_on(stack)
        exit_code = 0
        if keep:
            show_addresses(stack)
            _watch(stack)
        tell("\n`guestguard demo --keep` leaves all of it running, to look around.")
    return exit_code


def run_migrate(project: Path) -> None:
    """Upgrade the database of the settings, or else of the services that run in this folder."""
    before, after = upgrade_database(settings_here(project).require_database_url())
    tell(f"The database was at version {before}." if before else "The database had no tables of ours.")
    tell("Nothing to do." if before == after else f"It is at version {after} now.")


@contextmanager
def _stack(
    command: str, project: Path, plan: Plan, ports: Mapping[str, int], *, console_level: str | None
) -> Iterator[Stack]:
    """A stack that is stopped at the end, however the end comes. A request to stop ends the context quietly."""
    folder = DataFolder(project / DEFAULT_NAME)
    with stop_requests() as requests, folder.locked_by(command):
        logs.configure(command.replace(" ", "-"), debug=plan.settings.is_development)
        sink = ChildLogs(folder.path / "logs", console_level=console_level)
        stack = Stack(project, folder, plan, ports=ports, sink=sink, say=_say)
        tell(f"{command}: starting in {project}", bold=True)
        requests.when_urgent = stack.kill_dagster
        try:
            try:
                with _warnings_said_aloud():
                    yield stack
            finally:
                requests.hold()
                sink.leave_console()
                tell("\nStopping … (Ctrl-C again: at once)")
                stack.stop()
        except StopRequested:
            # Again, for the request that came between the end of the work and `hold`.
            stack.stop()
            tell("Stopped.")
        finally:
            sink.close()


def _watch(stack: Stack) -> None:
    """Return never: a request to stop, or a part that ends by itself, raises."""
    while True:
        time.sleep(_LOOK_SECONDS)
        if (sentence := stack.what_stopped()) is not None:
            raise LocalServiceError(sentence)


def _console_level(plan: Plan) -> str:
    return "debug" if plan.settings.is_development else "info"


def _say(sentence: str) -> None:
    tell(f"  {sentence}")


@contextmanager
def _warnings_said_aloud() -> Iterator[None]:
    """What the rooms below warn of is meant for the person at the terminal: as a sentence, not as a log line."""
    logger = logging.getLogger("guestguard_dagster.local")
    handler = _Aloud(logging.WARNING)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


class _Aloud(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())
