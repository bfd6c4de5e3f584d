from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestguard_dagster.domain.messages import MessageAudience, MessageChannel, MessageKind, MessageStatus
from guestguard_dagster.domain.reminders import REMINDER_RULES, reminder_time, seed_auto_reminders
from guestguard_dagster_tests.domain.drafts import LONG_AGO, an_event

ZONES = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
IN_1975, IN_2100 = 157_766_400, 4_102_444_800
INSTANTS = st.integers(IN_1975, IN_2100).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
DAYS_BEFORE = {
    MessageKind.REMINDER_7_DAY: 7,
    MessageKind.REMINDER_3_DAY_LAST_CALL: 3,
    MessageKind.REMINDER_1_DAY: 1,
}


@st.composite
def starts_after_clock_changes(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """A start 1 to 7 days after one of the zone's clock changes, within an hour and a half of its time of day."""
    zone = draw(ZONES)
    first_day = datetime(draw(st.integers(1975, 2037)), 1, 1, tzinfo=UTC)
    days = [first_day + timedelta(days=number) for number in range(367)]
    changes = [
        day
        for day, following in pairwise(days)
        if day.astimezone(zone).utcoffset() != following.astimezone(zone).utcoffset()
    ]
    if not changes:
        return zone, draw(INSTANTS)
    before, after = (change := draw(st.sampled_from(changes))), change + timedelta(days=1)
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == change.astimezone(zone).utcoffset():
            before = middle
        else:
            after = middle
    days_later = timedelta(days=draw(st.sampled_from([1, 3, 7])))
    minutes = timedelta(minutes=draw(st.integers(-90, 90)))
    return zone, (after + days_later + minutes).replace(microsecond=0)


def wall_clock(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def instants_of(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """Every instant at which this zone's clocks show `wall`: none in a gap, two in an overlap."""
    around = wall.replace(tzinfo=UTC)
    offsets = {zone.utcoffset((around + timedelta(hours=hours)).astimezone(zone)) for hours in range(-48, 49)}
    candidates = {around - offset for offset in offsets if offset is not None}
    return sorted(moment for moment in candidates if wall_clock(moment, zone) == wall)


@settings(max_examples=300, deadline=None)
@given(start=st.tuples(ZONES, INSTANTS) | starts_after_clock_changes(), kind=st.sampled_from(sorted(DAYS_BEFORE)))
def test_a_reminder_leaves_days_before_at_the_same_local_time_in_every_zone(
    start: tuple[ZoneInfo, datetime], kind: MessageKind
) -> None:
    zone, starts_at = start
    wanted = wall_clock(starts_at, zone) - timedelta(days=DAYS_BEFORE[kind])

    send_at = reminder_time(kind, starts_at, zone)

    assert send_at.tzinfo is UTC
    if meant := instants_of(wanted, zone):
        assert send_at == meant[0]
    else:
        moved = wall_clock(send_at, zone) - wanted
        assert timedelta(0) < moved <= timedelta(days=1)
        assert instants_of(wanted - moved, zone), "a skipped time moves by the length of the gap, not further"


@settings(max_examples=200, deadline=None)
@given(zone=ZONES, starts_at=INSTANTS)
def test_the_day_of_reminder_leaves_at_nine_or_two_hours_before_an_early_start(
    zone: ZoneInfo, starts_at: datetime
) -> None:
    local_start = wall_clock(starts_at, zone)

    send_at = reminder_time(MessageKind.REMINDER_DAY_OF, starts_at, zone)

    if local_start.time() < time(11):
        assert send_at == starts_at - timedelta(hours=2)
    else:
        assert send_at == instants_of(datetime.combine(local_start.date(), time(9)), zone)[0]


@pytest.mark.parametrize(
    ("timezone", "starts_at", "send_at"),
    [
        # 28 March 2027: 02:00 becomes 03:00
        ("Europe/Berlin", "2027-03-29T02:30+02:00", "2027-03-28T03:30+02:00"),
        ("Europe/Berlin", "2027-03-28T18:30+02:00", "2027-03-27T18:30+01:00"),
        # 25 October 2026: 03:00 becomes 02:00, so 02:30 happens twice
        ("Europe/Berlin", "2026-10-26T02:30+01:00", "2026-10-25T02:30+02:00"),
        ("America/New_York", "2027-03-15T02:15-04:00", "2027-03-14T03:15-04:00"),
        ("America/New_York", "2026-11-02T01:15-05:00", "2026-11-01T01:15-04:00"),
        # Half an hour is skipped on 4 October 2026, and doubled on 5 April 2026
        ("Australia/Lord_Howe", "2026-10-05T02:10+11:00", "2026-10-04T02:40+11:00"),
        ("Australia/Lord_Howe", "2026-04-06T01:45+10:30", "2026-04-05T01:45+11:00"),
        # Around Ramadan 2026 the clock goes back on 15 February and forward on 22 March
        ("Africa/Casablanca", "2026-02-16T02:30+00:00", "2026-02-15T02:30+01:00"),
        ("Africa/Casablanca", "2026-03-23T02:30+01:00", "2026-03-22T03:30+01:00"),
    ],
)
def test_the_one_day_reminder_keeps_its_local_time_over_clock_changes(
    timezone: str, starts_at: str, send_at: str
) -> None:
    start = datetime.fromisoformat(starts_at)
    assert reminder_time(MessageKind.REMINDER_1_DAY, start, ZoneInfo(timezone)) == datetime.fromisoformat(send_at)


def test_an_event_in_the_second_pass_of_a_doubled_hour_reminds_at_the_same_local_time() -> None:
    zone = ZoneInfo("Europe/Berlin")
    second_half_past_two = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    day_before = reminder_time(MessageKind.REMINDER_1_DAY, second_half_past_two, zone)
    assert wall_clock(day_before, zone) == datetime.fromisoformat("2026-10-24T02:30")


def test_a_reminder_for_a_day_that_never_was_is_left_out() -> None:
    """Samoa went from 29 December 2011 straight to the 31st: the day before the 31st would be the 31st itself."""
    event = an_event(datetime.fromisoformat("2011-12-31T18:30+14:00"), "Pacific/Apia")
    kinds = [draft.kind for draft in seed_auto_reminders(event, now=LONG_AGO)]
    assert kinds == [
        MessageKind.REMINDER_7_DAY,
        MessageKind.REMINDER_3_DAY_LAST_CALL,
        MessageKind.REMINDER_DAY_OF,
    ]


def test_an_event_gets_four_reminders_by_email_for_those_they_concern() -> None:
    event = an_event(datetime(2026, 12, 5, 17, 30, tzinfo=UTC), "Europe/Berlin")

    drafts = seed_auto_reminders(event, now=datetime(2026, 11, 1, tzinfo=UTC))

    assert [(draft.kind, draft.audience, draft.send_at) for draft in drafts] == [
        (MessageKind.REMINDER_7_DAY, MessageAudience.PENDING, datetime(2026, 11, 28, 17, 30, tzinfo=UTC)),
        (MessageKind.REMINDER_3_DAY_LAST_CALL, MessageAudience.PENDING, datetime(2026, 12, 2, 17, 30, tzinfo=UTC)),
        (MessageKind.REMINDER_1_DAY, MessageAudience.ATTENDING, datetime(2026, 12, 4, 17, 30, tzinfo=UTC)),
        (MessageKind.REMINDER_DAY_OF, MessageAudience.ATTENDING, datetime(2026, 12, 5, 8, 0, tzinfo=UTC)),
    ]
    assert {(draft.event_id, draft.channel, draft.status) for draft in drafts} == {
        (event.id, MessageChannel.EMAIL, MessageStatus.SCHEDULED)
    }


@settings(max_examples=200, deadline=None)
@given(zone=ZONES, starts_at=INSTANTS, lead=st.timedeltas(timedelta(0), timedelta(days=9)))
def test_reminders_whose_time_is_past_are_skipped(zone: ZoneInfo, starts_at: datetime, lead: timedelta) -> None:
    now = starts_at - lead
    event = an_event(starts_at, zone.key)

    seeded = {draft.kind: draft.send_at for draft in seed_auto_reminders(event, now)}

    for kind in REMINDER_RULES:
        send_at = reminder_time(kind, starts_at, zone)
        assert (kind in seeded) == (now < send_at < starts_at)
        assert seeded.get(kind, send_at) == send_at


def test_a_cancelled_event_gets_no_reminders() -> None:
    event = an_event(datetime(2026, 12, 5, tzinfo=UTC), cancelled_at=LONG_AGO)
    assert seed_auto_reminders(event, now=LONG_AGO) == []
