"""What a person reads once everything is up: where it is, and how to stop it."""

import click

from guestguard_dagster.local.stack import Stack


def show_addresses(stack: Stack) -> None:
    """Print one line per part, also of those that run elsewhere."""
    rows = []
    if stack.dagster is not None:
        rows.append(("Dagster", stack.dagster.url, "runs, sensors, logs"))
    if stack.mail is not None:
        rows.append(("Mail", stack.mail.page_url, f"what was sent; SMTP on port {stack.mail.smtp_port}"))
    else:
        rows.append(("Mail", "leaves for real", "through the provider that your settings name"))
    rows.append(_service("PostgreSQL", f"127.0.0.1:{stack.postgres.port}" if stack.postgres else None, "DATABASE_URL"))
    rows.append(_service("NATS", stack.nats.url if stack.nats else None, "NATS_URL"))
    rows.append(("Data, logs", str(stack.data_folder), "delete it to start afresh"))

    click.echo()
    click.secho("GuestGuard is running. Ctrl-C stops all of it.", bold=True)
    click.echo()
    for label, address, note in rows:
        gap = " " * max(1, 29 - len(address)) if note else ""
        click.echo(f"  {label:<12} {click.style(address, fg='cyan')}{gap}{click.style(note, dim=True)}")
    click.echo()


def _service(label: str, address: str | None, variable: str) -> tuple[str, str, str]:
    return (label, address, "") if address else (label, "elsewhere", f"where {variable} says")
