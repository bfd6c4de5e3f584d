"""What a person reads once everything is up: where it is, and how to stop it."""

from guestguard_dagster.local.console import address, dim, tell
from guestguard_dagster.local.stack import Stack


def show_addresses(stack: Stack) -> None:
    """Print one line per part, also of those that run elsewhere."""
    rows = []
    if stack.web is not None:
        note = "sign in with a token of `guestguard token`" if stack.web.sign_in_url is None else "events and messages"
        rows.append(("GuestGuard", stack.web.url, note))
    if stack.dagster is not None:
        rows.append(("Dagster", stack.dagster.url, "runs, sensors, logs"))
    if stack.mail is not None:
        rows.append(("Mail", stack.mail.page_url, f"what was sent; SMTP on port {stack.mail.smtp_port}"))
    else:
        rows.append(("Mail", "leaves for real", "through the provider that your settings name"))
    rows.append(_service("PostgreSQL", f"127.0.0.1:{stack.postgres.port}" if stack.postgres else None, "DATABASE_URL"))
    rows.append(_service("NATS", stack.nats.url if stack.nats else None, "NATS_URL"))
    rows.append(("Data, logs", str(stack.data_folder), "delete it to start afresh"))

    tell()
    tell("GuestGuard is running. Ctrl-C stops all of it.", bold=True)
    tell()
    for label, where, note in rows:
        gap = " " * max(1, 29 - len(where)) if note else ""
        tell(f"  {label:<12} {address(where)}{gap}{dim(note)}")
    tell()
    if stack.web is not None and stack.web.sign_in_url is not None:
        tell("Open this to be signed in as the demo's host; whoever has the link is, until this command stops:")
        tell(f"  {address(stack.web.sign_in_url)}\n")


def _service(label: str, where: str | None, variable: str) -> tuple[str, str, str]:
    return (label, where, "") if where else (label, "elsewhere", f"where {variable} says")
