from datetime import UTC, datetime, timedelta

import pytest

from guestguard_dagster.domain.events import EventDraft

STARTS_AT = datetime(2031, 6, 1, 18, tzinfo=UTC)


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "Europe", "Europe/Berlin\n"])
def test_an_event_needs_a_timezone_that_exists(timezone: str) -> None:
    with pytest.raises(ValueError, match="IANA name"):
        EventDraft("Party", "Here", STARTS_AT, timezone)


def test_an_event_takes_no_naive_instants() -> None:
    naive = STARTS_AT.replace(tzinfo=None)
    with pytest.raises(ValueError, match="need a timezone"):
        EventDraft("Party", "Here", naive, "Europe/Berlin")
    with pytest.raises(ValueError, match="need a timezone"):
        EventDraft("Party", "Here", STARTS_AT, "Europe/Berlin", ends_at=naive + timedelta(hours=1))


def test_an_event_ends_after_its_start() -> None:
    with pytest.raises(ValueError, match="after its starts_at"):
        EventDraft("Party", "Here", STARTS_AT, "Europe/Berlin", ends_at=STARTS_AT)
    EventDraft("Party", "Here", STARTS_AT, "Europe/Berlin", ends_at=STARTS_AT + timedelta(minutes=1))
