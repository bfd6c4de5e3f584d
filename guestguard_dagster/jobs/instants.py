"""Instants as an operator writes them into the Launchpad."""

from datetime import datetime

from dagster import Failure

from guestguard_dagster.clock import in_utc


def instant(name: str, text: str | None) -> datetime | None:
    """Raises Failure for what cannot be read."""
    if text is None:
        return None
    try:
        return in_utc(datetime.fromisoformat(text))
    except ValueError:
        raise Failure(f"{name} cannot be read; write it like 2026-12-05T18:30:00+01:00") from None
