"""The `guestguard` command. Each command is a thin door: what it does lives below, and is imported when needed."""

import errno
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

P = ParamSpec("P")


def main() -> None:
    """The entry point of the `guestguard` script."""
    cli(prog_name="guestguard")


def explains_errors(command: Callable[P, None]) -> Callable[P, None]:
    """What a person can cause or cure ends the command with a sentence, not with a traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        from guestguard_dagster.local.errors import LocalServiceError
        from guestguard_dagster.settings import SettingsInvalid
        from guestguard_dagster.storage.database import DatabaseUrlInvalid

        try:
            command(*args, **kwargs)
        except (LocalServiceError, SettingsInvalid, DatabaseUrlInvalid) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise click.ClickException("the disk is full; make room and start again") from error
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from error

    return wrapped


def port_option(name: str, what: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    return click.option(
        f"--{name}-port",
        type=click.IntRange(1, 65535),
        metavar="PORT",
        help=f"{what} listens here, or the command fails.",
    )


def service_ports(command: Callable[P, None]) -> Callable[P, None]:
    """The port options that `up`, `services` and `demo` share."""
    for name, what in (
        ("mail", "The mail catcher's page"),
        ("smtp", "The mail catcher's SMTP server"),
        ("nats", "NATS"),
        ("postgres", "PostgreSQL"),
    ):
        command = port_option(name, what)(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="guestguard-dagster", message="guestguard %(version)s")
def cli() -> None:
    """GuestGuard's messaging backend: scheduled broadcasts, reminders and event mail, run by Dagster."""


@cli.command()
@port_option("dagster", "Dagster's web page")
@service_ports
@explains_errors
def up(**ports: int | None) -> None:
    """Run everything on this machine, until Ctrl-C.

    Starts PostgreSQL, NATS, a mail catcher and Dagster, each unless the settings already name one. Data is kept in
    .guestguard/ of this folder.
    """
    from guestguard_dagster.local.commands import run_up

    sys.exit(run_up(Path.cwd(), _requested(ports)))


@cli.command()
@service_ports
@explains_errors
def services(**ports: int | None) -> None:
    """Run PostgreSQL, NATS and the mail catcher alone, until Ctrl-C.

    Writes the settings that lead to them into .env, so that plain `dagster dev` works beside it.
    """
    from guestguard_dagster.local.commands import run_services

    sys.exit(run_services(Path.cwd(), _requested(ports)))


@cli.command()
@explains_errors
def migrate() -> None:
    """Bring the database's tables up to date. Safe to run twice, and by two processes at once."""
    from guestguard_dagster.local.commands import run_migrate

    run_migrate(Path.cwd())


@cli.command()
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, to look around, until Ctrl-C.")
@port_option("dagster", "Dagster's web page")
@service_ports
@explains_errors
def demo(keep: bool, **ports: int | None) -> None:
    """Watch one broadcast leave on time: an event, its guests, its reminders, the run, the mails.

    Uses services of its own on this machine, whatever the settings say: nothing leaves it.
    """
    from guestguard_dagster.local.commands import run_demo

    sys.exit(run_demo(Path.cwd(), _requested(ports), keep=keep))


def _requested(ports: dict[str, int | None]) -> dict[str, int]:
    return {name.removesuffix("_port"): port for name, port in ports.items() if port is not None}
