"""Verdicts as Markdown."""

from collections.abc import Sequence

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster_tests.crash.providers import Provider
from guestguard_dagster_tests.crash.verdict import Verdict

NAMES = {Provider.SMTP: "SMTP", Provider.RESEND: "Resend", Provider.SES: "SES", Provider.TWILIO: "Twilio"}


def states(verdict: Verdict) -> tuple[int, int, int]:
    """How many are sent, failed and unknown."""
    counts = verdict.states
    return counts[DeliveryStatus.SENT], counts[DeliveryStatus.FAILED], counts[DeliveryStatus.UNKNOWN]


def row(values: Sequence[object]) -> str:
    return f"| {' | '.join(str(value) for value in values)} |"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    numbers = [isinstance(value, int) for value in rows[0]]
    rule = "|".join("---:" if is_number else "---" for is_number in numbers)
    return "\n".join([row(header), f"|{rule}|", *map(row, rows)]) + "\n"
