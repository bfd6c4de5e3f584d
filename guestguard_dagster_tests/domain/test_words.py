"""How long the words of a reminder hold: the day they were meant for, by the clock of the event's zone."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import CancelReason, MessageKind
from guestguard_dagster.domain.reminders import REMINDER_RULES, reminder_time, too_late, words_hold
from guestguard_dagster_tests.domain.drafts import an_event

IN_1975, IN_2100 = 157_766_400, 4_102_444_800
A_DAY = timedelta(days=1)

# POSIX names that are no places have no clock changes; the others have all that there ever were.
zones = st.sampled_from(sorted(available_timezones()))
instants = st.integers(IN_1975, IN_2100).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
events = st.builds(an_event, instants, zones)
reminders = st.sampled_from(list(REMINDER_RULES))
dated_reminders = st.sampled_from([kind for kind, rule in REMINDER_RULES.items() if rule.days_before])
distances = st.timedeltas(min_value=-2 * A_DAY, max_value=8 * A_DAY)


def local_day(moment: datetime, event: Event) -> date:
    return moment.astimezone(event.zone).date()


@settings(deadline=None)
@given(events, reminders, distances)
def test_words_hold_at_the_time_they_were_meant_for_and_before(
    event: Event, kind: MessageKind, distance: timedelta
) -> None:
    send_at = reminder_time(kind, event.starts_at, event.zone)
    assert words_hold(kind, send_at, event, send_at)
    assert words_hold(kind, send_at, event, send_at - abs(distance))


@settings(deadline=None)
@given(events, dated_reminders, distances)
def test_a_day_that_is_named_is_over_with_the_local_day(event: Event, kind: MessageKind, distance: timedelta) -> None:
    send_at = reminder_time(kind, event.starts_at, event.zone)
    moment = send_at + distance
    if moment > send_at:
        assert words_hold(kind, send_at, event, moment) is (local_day(moment, event) <= local_day(send_at, event))


@settings(deadline=None)
@given(events, st.integers(0, 86_400))
def test_tomorrow_is_never_said_on_the_day_itself(event: Event, seconds: int) -> None:
    kind = MessageKind.REMINDER_1_DAY
    send_at = reminder_time(kind, event.starts_at, event.zone)
    moment = event.starts_at - timedelta(seconds=seconds)
    if words_hold(kind, send_at, event, moment) and moment >= send_at:
        assert local_day(moment, event) < local_day(event.starts_at, event)


@settings(deadline=None)
@given(events, distances)
def test_the_reminder_of_the_day_holds_until_the_start_also_from_the_evening_before(
    event: Event, distance: timedelta
) -> None:
    kind = MessageKind.REMINDER_DAY_OF
    send_at = reminder_time(kind, event.starts_at, event.zone)
    moment = event.starts_at - max(abs(distance), timedelta(seconds=1))
    assert too_late(kind, send_at, event, moment) is None
    assert too_late(kind, send_at, event, event.starts_at) is CancelReason.EVENT_STARTED


@settings(deadline=None)
@given(events, distances, distances)
def test_a_broadcast_has_no_words_that_expire(event: Event, send: timedelta, late: timedelta) -> None:
    send_at = event.starts_at - send
    assert words_hold(MessageKind.BROADCAST, send_at, event, send_at + late)


@settings(deadline=None)
@given(events, reminders)
def test_one_that_the_host_re_timed_holds_on_the_day_that_the_host_chose(event: Event, kind: MessageKind) -> None:
    send_at = event.starts_at - 20 * A_DAY
    if kind is not MessageKind.REMINDER_DAY_OF:
        assert not words_hold(kind, send_at, event, send_at + 2 * A_DAY)


@pytest.mark.parametrize(
    ("start", "zone", "still", "over"),
    [
        # midnight is left out: 4 November 2018 begins at 01:00
        ("2018-11-04T18:00-02:00", "America/Sao_Paulo", "2018-11-03T23:59:59-03:00", "2018-11-04T01:00-02:00"),
        # the last hour of the day happens twice
        ("2018-02-18T18:00-03:00", "America/Sao_Paulo", "2018-02-17T23:59:59-03:00", "2018-02-18T00:00-03:00"),
        # 30 December 2011 is left out
        ("2011-12-31T18:00+14:00", "Pacific/Apia", "2011-12-29T23:59:59-10:00", "2011-12-31T00:00+14:00"),
        ("2026-10-25T18:00+01:00", "Europe/Berlin", "2026-10-24T23:59:59+02:00", "2026-10-25T00:00+02:00"),
    ],
)
def test_days_that_a_clock_change_cuts_end_where_the_next_one_begins(
    start: str, zone: str, still: str, over: str
) -> None:
    event = an_event(datetime.fromisoformat(start), zone)
    kind = MessageKind.REMINDER_1_DAY
    send_at = datetime.fromisoformat(still) - timedelta(hours=5)
    assert too_late(kind, send_at, event, datetime.fromisoformat(still)) is None
    assert too_late(kind, send_at, event, datetime.fromisoformat(over)) is CancelReason.TIME_PASSED


def test_what_is_meant_for_after_the_start_is_not_too_late() -> None:
    event = an_event(datetime(2026, 12, 5, 17, tzinfo=UTC))
    thank_you = event.starts_at + timedelta(hours=3)
    assert too_late(MessageKind.BROADCAST, thank_you, event, thank_you + A_DAY) is None
