from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.quiet_hours import SMS_QUIET_HOURS, QuietHours
from guestguard_dagster_tests.domain.drafts import an_event

ZONES = sorted(available_timezones() - {"localtime"})
# the bounds of st.datetimes are naive by its contract
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TIMES = st.times().map(lambda moment: moment.replace(second=0, microsecond=0, fold=0))


@given(MOMENTS, TIMES, TIMES, st.sampled_from(ZONES))
def test_quiet_hours_end_within_a_day_and_outside_of_themselves(
    moment: datetime, start: time, end: time, zone_name: str
) -> None:
    zone = ZoneInfo(zone_name)
    hours = QuietHours(start, end)

    over_at = hours.end_after(moment, zone)

    if over_at is not None:
        assert moment < over_at <= moment + timedelta(hours=49)  # a zone may leave out a whole day
        assert over_at.tzinfo is UTC


@given(MOMENTS, st.sampled_from(ZONES))
def test_an_sms_is_quiet_exactly_from_nine_in_the_evening_to_nine_in_the_morning(
    moment: datetime, zone_name: str
) -> None:
    zone = ZoneInfo(zone_name)
    local_hour = moment.astimezone(zone).hour

    over_at = SMS_QUIET_HOURS.end_after(moment, zone)

    assert (over_at is not None) == (local_hour >= 21 or local_hour < 9)


@pytest.mark.parametrize(
    ("local", "over_at"),
    [
        ("2026-12-04 21:00", "2026-12-05 08:00"),
        ("2026-12-05 08:59", "2026-12-05 08:00"),
        # the night in which the clock goes forward is an hour shorter
        ("2027-03-27 23:00", "2027-03-28 07:00"),
    ],
)
def test_the_night_ends_at_nine_on_the_clock_of_the_event(local: str, over_at: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    moment = datetime.fromisoformat(local).replace(tzinfo=zone)

    assert SMS_QUIET_HOURS.end_after(moment, zone) == datetime.fromisoformat(over_at).replace(tzinfo=UTC)


def test_email_has_no_quiet_hours_unless_the_event_sets_them() -> None:
    midnight = datetime(2026, 12, 5, 0, 0, tzinfo=UTC)

    assert an_event(midnight).quiet_until(MessageChannel.EMAIL, midnight) is None
    assert an_event(midnight).quiet_until(MessageChannel.SMS, midnight) is not None
