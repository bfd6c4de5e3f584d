from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import (
    CancelReason,
    Message,
    MessageAudience,
    MessageChannel,
    MessageDraft,
    MessageKind,
    MessageStatus,
)
from guestguard_dagster.domain.reminders import (
    REMINDER_RULES,
    CreateReminder,
    ExpireReminder,
    RearmReminder,
    ReminderChange,
    RescheduleReminder,
    plan_event_move,
    reminder_time,
    seed_auto_reminders,
    too_late,
    words_hold,
)
from guestguard_dagster_tests.domain.drafts import LONG_AGO, a_message, an_event

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
START = datetime(2026, 12, 5, 17, 30, tzinfo=UTC)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KIND = MessageKind.REMINDER_1_DAY


def the_reminder(event: Event, kind: MessageKind = KIND, **fields: Any) -> Message:
    draft = {draft.kind: draft for draft in seed_auto_reminders(event, now=LONG_AGO)}[kind]
    return a_message(draft, **fields)


def all_reminders(event: Event, *, without: Message | None = None, **fields: Any) -> list[Message]:
    drafts = seed_auto_reminders(event, now=LONG_AGO)
    return [a_message(draft, **fields) for draft in drafts if without is None or draft.kind is not without.kind]


def changes_of(message: Message, before: Event, after: Event, now: datetime = NOW) -> list[ReminderChange]:
    """What the plan says about this one; the others were sent and say nothing."""
    others = all_reminders(before, without=message, status=MessageStatus.SENT)
    return plan_event_move(before, after, [message, *others], now)


def moved(event: Event, by: timedelta, timezone: str | None = None) -> Event:
    return replace(event, starts_at=event.starts_at + by, timezone=timezone or event.timezone)


def test_unsent_reminders_move_with_their_event() -> None:
    event = an_event(START, "Europe/Berlin")
    later = moved(event, 3 * DAY + HOUR)
    messages = all_reminders(event)

    changes = plan_event_move(event, later, messages, NOW)

    assert changes == [
        RescheduleReminder(message.id, reminder_time(message.kind, later.starts_at, later.zone)) for message in messages
    ]


def test_a_move_that_changes_no_time_changes_nothing() -> None:
    event = an_event(START, "Europe/Berlin")
    assert plan_event_move(event, replace(event, name="New name"), all_reminders(event), NOW) == []


def test_a_new_zone_moves_reminders_to_its_local_times() -> None:
    event = an_event(START, "Europe/Berlin")
    in_tokyo = moved(event, timedelta(0), "Asia/Tokyo")
    day_of = the_reminder(event, MessageKind.REMINDER_DAY_OF)

    assert changes_of(day_of, event, in_tokyo) == [
        # The event now starts on 6 December at 02:30 in Tokyo: two hours before.
        RescheduleReminder(day_of.id, START - 2 * HOUR)
    ]


def test_a_reminder_that_the_host_re_timed_keeps_its_distance_to_the_start() -> None:
    event = an_event(START, "Europe/Berlin")
    re_timed = the_reminder(event, send_at=START - timedelta(hours=30), send_at_is_custom=True)

    assert changes_of(re_timed, event, moved(event, 10 * DAY + HOUR)) == [
        RescheduleReminder(re_timed.id, START + 10 * DAY + HOUR - timedelta(hours=30))
    ]


def test_a_re_timed_reminder_keeps_its_local_time_over_clock_changes() -> None:
    event = an_event(datetime.fromisoformat("2026-10-24T18:00+02:00"), "Europe/Berlin")
    noon_two_days_before = datetime.fromisoformat("2026-10-22T12:00+02:00")
    re_timed = the_reminder(event, send_at=noon_two_days_before, send_at_is_custom=True)
    after = replace(event, starts_at=datetime.fromisoformat("2026-10-26T18:00+01:00"))

    assert changes_of(re_timed, event, after, now=datetime(2026, 10, 1, tzinfo=UTC)) == [
        RescheduleReminder(re_timed.id, datetime.fromisoformat("2026-10-24T12:00+02:00"))
    ]


@pytest.mark.parametrize("reason", [CancelReason.HOST, CancelReason.EVENT_CANCELLED])
def test_a_reminder_that_somebody_cancelled_stays_cancelled(reason: CancelReason) -> None:
    event = an_event(START)
    cancelled = the_reminder(event, status=MessageStatus.CANCELLED, status_reason=reason)
    assert changes_of(cancelled, event, moved(event, 30 * DAY)) == []


@pytest.mark.parametrize("status", [MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.FAILED])
def test_a_reminder_that_went_out_never_goes_out_again(status: MessageStatus) -> None:
    event = an_event(START)
    gone = the_reminder(event, status=status)
    assert changes_of(gone, event, moved(event, 30 * DAY), now=START - HOUR) == []


def test_a_draft_follows_its_event_and_stays_a_draft() -> None:
    event = an_event(START)
    draft = the_reminder(event, status=MessageStatus.DRAFT)
    untimed = the_reminder(event, status=MessageStatus.DRAFT, send_at=None)
    assert changes_of(draft, event, moved(event, DAY)) == [RescheduleReminder(draft.id, START)]
    assert changes_of(untimed, event, moved(event, DAY)) == []


def test_a_later_date_creates_the_reminders_that_were_skipped() -> None:
    event = an_event(START)
    two_days_before = START - 2 * DAY
    seeded = [a_message(draft) for draft in seed_auto_reminders(event, two_days_before)]
    later = moved(event, 4 * DAY)

    changes = plan_event_move(event, later, seeded, two_days_before)

    created = [change.draft.kind for change in changes if isinstance(change, CreateReminder)]
    assert created == [MessageKind.REMINDER_3_DAY_LAST_CALL], "six days ahead: the 7-day reminder is still past"
    assert len([change for change in changes if isinstance(change, RescheduleReminder)]) == len(seeded) == 2


def test_what_could_only_leave_after_the_start_is_cancelled_because_the_event_started() -> None:
    event = an_event(START)
    messages = all_reminders(event)
    into_the_past = replace(event, starts_at=NOW - HOUR)

    changes = plan_event_move(event, into_the_past, messages, NOW)

    assert [type(change) for change in changes] == [ExpireReminder] * 4
    assert {change.reason for change in changes if isinstance(change, ExpireReminder)} == {CancelReason.EVENT_STARTED}


def test_a_reminder_whose_day_is_over_is_cancelled_as_its_words_would_be_wrong() -> None:
    event = an_event(START)
    reminder = the_reminder(event)
    tonight = replace(event, starts_at=NOW + 8 * HOUR)
    assert changes_of(reminder, event, tonight) == [
        ExpireReminder(reminder.id, NOW - 16 * HOUR, CancelReason.TIME_PASSED)
    ]


def test_a_reminder_whose_new_time_passed_today_leaves_at_once() -> None:
    event = an_event(START)
    reminder = the_reminder(event)
    now = START - DAY - 30 * timedelta(minutes=1)
    two_hours_earlier = moved(event, -2 * HOUR)
    # Due an hour and a half ago, and "tomorrow" is still true.
    assert changes_of(reminder, event, two_hours_earlier, now) == [
        RescheduleReminder(reminder.id, START - DAY - 2 * HOUR)
    ]


@pytest.mark.parametrize("reason", [CancelReason.EVENT_STARTED, CancelReason.TIME_PASSED])
def test_a_reminder_that_only_ran_out_of_time_is_armed_again_by_a_later_date(reason: CancelReason) -> None:
    event = an_event(NOW - HOUR)
    expired = the_reminder(event, status=MessageStatus.CANCELLED, status_reason=reason)
    next_week = moved(event, 7 * DAY)
    assert changes_of(expired, event, next_week) == [RearmReminder(expired.id, next_week.starts_at - DAY)]


def test_a_re_timed_reminder_keeps_its_distance_through_a_mistaken_move() -> None:
    event = an_event(START)
    reminder = the_reminder(event, send_at=START - 5 * HOUR, send_at_is_custom=True)
    yesterday = replace(event, starts_at=NOW - DAY)
    the_day_before = replace(event, starts_at=NOW - 2 * DAY)

    for before, after in ((event, yesterday), (yesterday, the_day_before)):
        (change,) = changes_of(reminder, before, after)
        assert isinstance(change, ExpireReminder)
        reminder = replace(
            reminder, status=MessageStatus.CANCELLED, status_reason=change.reason, send_at=change.send_at
        )

    assert changes_of(reminder, the_day_before, event) == [RearmReminder(reminder.id, START - 5 * HOUR)]


def test_broadcasts_do_not_move_with_their_event() -> None:
    event = an_event(START)
    draft = MessageDraft(
        event_id=event.id,
        channel=MessageChannel.EMAIL,
        audience=MessageAudience.EVERYONE,
        subject="Parking",
        body="Behind the house.",
        send_at=START - DAY,
    )
    sent = all_reminders(event, status=MessageStatus.SENT)
    assert plan_event_move(event, moved(event, 9 * DAY), [a_message(draft), *sent], NOW) == []


def test_moving_a_cancelled_event_wakes_nothing() -> None:
    event = an_event(START, cancelled_at=NOW)
    messages = all_reminders(an_event(START), status=MessageStatus.CANCELLED, status_reason=CancelReason.EVENT_STARTED)
    assert plan_event_move(event, moved(event, 9 * DAY), messages, NOW) == []


class MovingEvents(RuleBasedStateMachine):
    """A host moves an event back and forth while time passes and reminders leave: what is promised holds throughout."""

    @initialize(
        zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
        days_ahead=st.integers(0, 20),
    )
    def create_event(self, zone: str, days_ahead: int) -> None:
        self.now = NOW
        self.event = an_event(NOW + days_ahead * DAY + HOUR, zone)
        self.rows = [a_message(draft) for draft in seed_auto_reminders(self.event, self.now)]
        self.left: set[MessageKind] = set()
        self.cancelled_by_host: set[MessageKind] = set()

    @rule(hours=st.integers(-24 * 15, 24 * 15))
    def move(self, hours: int) -> None:
        before, self.event = self.event, moved(self.event, hours * HOUR)
        for change in plan_event_move(before, self.event, self.rows, self.now):
            self._apply(change)
        for row in self.rows:
            if row.status is MessageStatus.SCHEDULED and not row.send_at_is_custom:
                assert row.send_at == reminder_time(row.kind, self.event.starts_at, self.event.zone)
            if row.status is MessageStatus.SCHEDULED and row.send_at is not None:
                assert words_hold(row.kind, row.send_at, self.event, max(row.send_at, self.now))
                assert max(row.send_at, self.now) < self.event.starts_at

    @rule(hours=st.integers(1, 72))
    def let_time_pass(self, hours: int) -> None:
        self.now += hours * HOUR
        for number, row in enumerate(self.rows):
            if row.status is not MessageStatus.SCHEDULED or row.send_at is None or row.send_at > self.now:
                continue
            if reason := too_late(row.kind, row.send_at, self.event, self.now):
                self.rows[number] = replace(row, status=MessageStatus.CANCELLED, status_reason=reason)
            else:
                assert row.kind not in self.left, "a reminder left twice"
                self.left.add(row.kind)
                self.rows[number] = replace(row, status=MessageStatus.SENT)

    @rule(kind=st.sampled_from(list(REMINDER_RULES)), hours=st.integers(1, 24 * 9))
    def host_re_times(self, kind: MessageKind, hours: int) -> None:
        send_at = self.event.starts_at - hours * HOUR
        if send_at > self.now:
            self._change_scheduled(kind, send_at=send_at, send_at_is_custom=True)

    @rule(kind=st.sampled_from(list(REMINDER_RULES)))
    def host_cancels(self, kind: MessageKind) -> None:
        if self._change_scheduled(kind, status=MessageStatus.CANCELLED, status_reason=CancelReason.HOST):
            self.cancelled_by_host.add(kind)

    @invariant()
    def one_row_per_reminder(self) -> None:
        kinds = [row.kind for row in self.rows]
        assert len(kinds) == len(set(kinds))

    @invariant()
    def what_was_sent_or_cancelled_by_the_host_stays_so(self) -> None:
        for row in self.rows:
            if row.kind in self.left:
                assert row.status is MessageStatus.SENT
            if row.kind in self.cancelled_by_host:
                assert row.status_reason == CancelReason.HOST

    def _change_scheduled(self, kind: MessageKind, **fields: Any) -> bool:
        for number, row in enumerate(self.rows):
            if row.kind is kind and row.status is MessageStatus.SCHEDULED:
                self.rows[number] = replace(row, **fields)
                return True
        return False

    def _apply(self, change: ReminderChange) -> None:
        if isinstance(change, CreateReminder):
            assert change.draft.send_at is not None
            assert self.now < change.draft.send_at < self.event.starts_at
            self.rows.append(a_message(change.draft, id=uuid4()))
            return
        (number,) = (number for number, row in enumerate(self.rows) if row.id == change.message_id)
        row = replace(self.rows[number], send_at=change.send_at)
        if isinstance(change, ExpireReminder):
            assert row.status is MessageStatus.CANCELLED or row.status.can_become(MessageStatus.CANCELLED)
            row = replace(row, status=MessageStatus.CANCELLED, status_reason=change.reason)
        elif isinstance(change, RearmReminder):
            assert row.status.can_become(MessageStatus.SCHEDULED)
            row = replace(row, status=MessageStatus.SCHEDULED, status_reason=None)
        self.rows[number] = row


TestMovingEvents = MovingEvents.TestCase
TestMovingEvents.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
