"""The `guestguard` command. Each command is a thin door: what it does lives below, and is imported when needed."""

import errno
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec
from uuid import UUID

import click

if TYPE_CHECKING:
    from guestguard_dagster.notifications.definition import NotificationDefinition

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
@port_option("web", "GuestGuard's web application")
@service_ports
@explains_errors
def up(**ports: int | None) -> None:
    """Run everything on this machine, until Ctrl-C.

    Starts PostgreSQL, NATS and a mail catcher, each unless the settings already name one; the web application, with a
    link that signs you in; and Dagster. Data is kept in .guestguard/ of this folder.
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
@port_option("web", "GuestGuard's web application")
@service_ports
@explains_errors
def demo(keep: bool, **ports: int | None) -> None:
    """Watch one broadcast leave on time: an event, its guests, its reminders, the run, the mails.

    Uses services of its own on this machine, whatever the settings say: nothing leaves it.
    """
    from guestguard_dagster.local.commands import run_demo

    sys.exit(run_demo(Path.cwd(), _requested(ports), keep=keep))


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@explains_errors
def web(host: str, port: int) -> None:
    """Serve the API, the pages and the webhooks, until Ctrl-C: for production, behind a proxy that speaks HTTPS."""
    from guestguard_dagster.local.web_commands import run_web

    run_web(Path.cwd(), host=host, port=port)


@cli.command()
@click.option("--email", default="host@example.com", show_default=True, help="Whose token.")
@click.option("--name", help="Makes the user if there is none with this address.")
@click.option("--hours", type=click.FloatRange(0, 24 * 30, min_open=True), default=12, show_default=True)
@click.option("--operator", is_flag=True, help="It also opens what is for operators: reports, health, metrics.")
@explains_errors
def token(email: str, name: str | None, hours: float, operator: bool) -> None:
    """Print a bearer token for the API."""
    from guestguard_dagster.local.web_commands import run_token

    run_token(Path.cwd(), email=email, name=name, hours=hours, operator=operator)


@cli.command()
@explains_errors
def doctor() -> None:
    """Say how every part stands: database, migrations, daemon, queue, providers, NATS; and what to do about it.

    Ends with 1 when something keeps this service from its work.
    """
    from guestguard_dagster.local.operating import run_doctor

    sys.exit(run_doctor(Path.cwd()))


_AN_INSTANT = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S"])


@cli.command("replay-ledger")
@click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
@click.option("--lost-at", type=_AN_INSTANT, help="From then on the lost database cannot have sent anything.")
@click.option("--restored-to", type=_AN_INSTANT, help="Whose state was restored; if the check does not find out.")
@explains_errors
def replay_ledger(dry_run: bool, lost_at: datetime | None, restored_to: datetime | None) -> None:
    """After a restore or a failover: mark what had left as unknown, hold what may have left, let the rest go on.

    Safe to repeat. Instants are written like 2026-12-05T18:30:00+01:00, or in UTC like "2026-12-05 17:30:00".
    """
    from guestguard_dagster.local.operating import run_replay_ledger

    run_replay_ledger(Path.cwd(), dry_run=dry_run, lost_at=lost_at, restored_to=restored_to)


@cli.command()
@click.argument("dataset", type=click.Choice(["days", "latencies", "messages", "events", "providers"]))
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="The first day. Default: 29 days ago.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="The last day. Default: today.")
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of the terminal.")
@explains_errors
def export(dataset: str, first: datetime | None, last: datetime | None, form: str, output: Path | None) -> None:
    """Export statistics: by day and outcome, latencies, by message, by event, or by provider account.

    Days are those of OPERATOR_TIMEZONE. Parquet needs the extra `parquet`, and a file.
    """
    from guestguard_dagster.local.operating import run_export

    run_export(Path.cwd(), dataset, first=first, last=last, form=form, output=output)


class PublishedEvents(click.Group):
    """A command for each type of notification, made of its definition when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_definitions()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        definition = _definitions().get(cmd_name)
        if definition is None:
            return super().get_command(ctx, cmd_name)
        callback = explains_errors(partial(_publish, definition))
        return click.Command(
            cmd_name, help=definition.summary, callback=callback, params=[*definition.publish_options, *_ABOUT_A_GUEST]
        )


@cli.group(cls=PublishedEvents)
def publish() -> None:
    """Publish an event to NATS, as the Go services do, to see the mail that answers to it.

    What is not given comes from the newest event that has guests, such as the demo's.
    """


# the options that every published event has
_ABOUT_A_GUEST = (
    click.Option(["--event-id"], type=click.UUID, help="Another event."),
    click.Option(["--guest-id"], type=click.UUID, help="Another guest."),
    click.Option(["--message-id"], help="The event's Nats-Msg-Id: the same one is the same event."),
)


def _definitions() -> "Mapping[str, NotificationDefinition[Any]]":
    from guestguard_dagster.notifications.registry import DEFINITIONS

    return {definition.command: definition for definition in DEFINITIONS}


def _publish(
    definition: "NotificationDefinition[Any]",
    *,
    event_id: UUID | None,
    guest_id: UUID | None,
    message_id: str | None,
    **fields: Any,
) -> None:
    from guestguard_dagster.local.publish import run_publish

    run_publish(Path.cwd(), definition, fields, event_id=event_id, guest_id=guest_id, message_id=message_id)


def _requested(ports: dict[str, int | None]) -> dict[str, int]:
    return {name.removesuffix("_port"): port for name, port in ports.items() if port is not None}
