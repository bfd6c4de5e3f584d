"""The life of messages under any order of what hosts, runs and time do to them."""

from datetime import timedelta
from enum import Enum, auto
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from guestguard_dagster.domain.deliveries import DeliveryReport, DeliveryStats, DeliveryStatus
from guestguard_dagster.domain.events import EventDraft
from guestguard_dagster.domain.messages import (
    EDITABLE_STATUSES,
    CancelReason,
    Message,
    MessageAudience,
    MessageChanges,
    MessageChannel,
    MessageDraft,
    MessageKind,
    MessageStatus,
)
from guestguard_dagster.domain.reminders import words_hold
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.batches import BatchRepo
from guestguard_dagster.storage.errors import (
    EventCancelled,
    MessageHeld,
    MessageNotEditable,
    MessageNotRetryable,
    MessageTooLate,
)
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster_tests.factories import make_deliveries, make_guests, make_message, make_user, set_columns

A_DAY = timedelta(days=1)
DUE, AHEAD = -A_DAY / 24, A_DAY

# Cancelled for good; what ran out of time can still be armed again by a later date.
DECIDED = {CancelReason.HOST, CancelReason.EVENT_CANCELLED}

SEND_IN = st.sampled_from([DUE, AHEAD])

MAY_HAVE_STARTED = set(MessageStatus) - {MessageStatus.DRAFT, MessageStatus.CANCELLED}


class SendStep(Enum):
    CLAIM = auto()
    FREEZE = auto()
    SETTLE_SENT = auto()
    SETTLE_FAILED = auto()
    MARK_SENT = auto()
    MARK_FAILED = auto()
    RETRY = auto()


class MessageLife(RuleBasedStateMachine):
    """One event with its reminders and some broadcasts. `seen` is every message as it was after the last step."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.messages = MessageRepo(database)
        self.events = EventRepo(database)
        draft = EventDraft("Party", "Here", database.now() + 10 * A_DAY, "Europe/Berlin")
        self.event = self.events.create(draft, make_user(database).id)
        self.guests = make_guests(database, self.event, 3)
        for status, survives in ((MessageStatus.SCHEDULED, True), (MessageStatus.DRAFT, False)):
            make_message(database, self.event, status=status, survives_event_cancel=survives)
        self.seen: dict[UUID, Message] = {}
        self.watch()

    def with_status(self, *statuses: MessageStatus) -> list[Message]:
        return [message for message in self.seen.values() if message.status in statuses]

    def some_message(self, number: int) -> Message:
        return list(self.seen.values())[number % len(self.seen)]

    @property
    def event_cancelled(self) -> bool:
        return self.event.cancelled_at is not None

    def stats(self, message: Message) -> DeliveryStats:
        return self.messages.delivery_stats([message.id])[message.id]

    def words_hold(self, message: Message) -> bool:
        assert message.send_at is not None
        return words_hold(message.kind, message.send_at, self.event, self.database.now())

    # What a host does.

    @rule(status=st.sampled_from(sorted(EDITABLE_STATUSES)), send_in=SEND_IN, survives=st.booleans())
    def write(self, status: MessageStatus, send_in: timedelta, survives: bool) -> None:
        draft = MessageDraft(
            event_id=self.event.id,
            channel=MessageChannel.EMAIL,
            audience=MessageAudience.EVERYONE,
            subject="Subject",
            body="Body",
            send_at=self.database.now() + send_in,
            status=status,
            survives_event_cancel=survives,
        )
        try:
            self.messages.create(draft)
        except EventCancelled:
            assert self.event_cancelled
        else:
            assert not self.event_cancelled

    @rule(number=st.integers(0, 20), status=st.none() | st.sampled_from(sorted(EDITABLE_STATUSES)), send_in=SEND_IN)
    def edit(self, number: int, status: MessageStatus | None, send_in: timedelta) -> None:
        before, send_at = self.some_message(number), self.database.now() + send_in
        changes = MessageChanges(status=status, send_at=send_at)
        try:
            after = self.messages.update(before.id, changes, expected_version=before.version)
        except MessageNotEditable:
            assert before.status not in EDITABLE_STATUSES
        else:
            assert before.status in EDITABLE_STATUSES
            assert (after.status, after.send_at) == (status or before.status, send_at)

    @rule(number=st.integers(0, 20), send_now=st.booleans())
    def cancel_or_send_now(self, number: int, send_now: bool) -> None:
        before = self.some_message(number)
        try:
            after = (self.messages.promote_to_scheduled if send_now else self.messages.cancel)(before.id)
        except MessageNotEditable:
            assert before.status not in EDITABLE_STATUSES
        except MessageHeld:
            assert send_now
            assert before.held_at is not None
        else:
            assert before.status in EDITABLE_STATUSES
            assert not (send_now and before.held_at)
            assert after.status is (MessageStatus.SCHEDULED if send_now else MessageStatus.CANCELLED)

    @rule(days=st.integers(-25, 25), cancel=st.integers(1, 8))
    def move_or_cancel_event(self, days: int, cancel: int) -> None:
        starts_at = self.event.starts_at + days * A_DAY
        if cancel == 8:
            self.event = self.events.cancel(self.event.id)
            unsent = self.messages.list_by_event(self.event.id, statuses=EDITABLE_STATUSES, limit=1000)
            assert all(message.survives_event_cancel for message in unsent)
        elif not self.event_cancelled and starts_at > self.database.now() + A_DAY:
            self.event = self.events.move(self.event.id, starts_at=starts_at)

    # What runs and operators do.

    @rule(steps=st.just(list(SendStep)) | st.lists(st.sampled_from(SendStep), max_size=4), of_each=st.integers(1, 2))
    def work(self, steps: list[SendStep], of_each: int) -> None:
        for step in steps:
            match step:
                case SendStep.CLAIM:
                    self.claim()
                case SendStep.FREEZE:
                    self.freeze()
                case SendStep.SETTLE_SENT:
                    self.settle(DeliveryStatus.SENT, of_each)
                case SendStep.SETTLE_FAILED:
                    self.settle(DeliveryStatus.FAILED, of_each)
                case SendStep.MARK_SENT | SendStep.MARK_FAILED:
                    self.finish(step)
                case SendStep.RETRY:
                    self.retry()
            self.watch()

    @rule(number=st.integers(0, 20), resume=st.booleans())
    def hold_or_resume(self, number: int, resume: bool) -> None:
        message = self.some_message(number)
        on_its_way = message.status in {MessageStatus.SCHEDULED, MessageStatus.SENDING}
        if resume and on_its_way:
            assert self.messages.resume(message.id).held_at is None
        elif not resume:
            newly_held = [message.id] if on_its_way and message.held_at is None else []
            assert self.messages.hold([message.id], reason="terminated") == newly_held

    def claim(self) -> None:
        now = self.database.now()
        claimable = {
            message.id
            for message in self.with_status(MessageStatus.SCHEDULED)
            if message.send_at is not None
            and message.send_at <= now
            and message.held_at is None
            and (message.survives_event_cancel or not self.event_cancelled)
            and self.words_hold(message)
        }
        assert set(self.messages.claim_for_sending(list(self.seen))) == claimable

    def freeze(self) -> None:
        for message in self.with_status(MessageStatus.SENDING):
            if message.audience_frozen_at is None:
                make_deliveries(self.database, message, self.guests)
                set_columns(self.database, message, audience_frozen_at=self.database.now())

    def settle(self, news: DeliveryStatus, of_each: int) -> None:
        for message in self.with_status(MessageStatus.SENDING):
            pending = list(self.messages.load_recipients(message.id, statuses=[DeliveryStatus.PENDING]))
            for recipient in pending[:of_each]:
                self.messages.record_delivery(recipient.delivery_id, DeliveryReport(news, retryable=True))
            self.close_empty_batches(message)

    def close_empty_batches(self, message: Message) -> None:
        batches = BatchRepo(self.database)
        lease = batches.lease([message.id], limit=100, per_queue=100, duration=A_DAY)
        with self.database.transaction() as connection:
            batches.close(connection, lease.token, [batch.id for batch in lease.batches if not batch.recipients])
        batches.release(lease.token, [batch.id for batch in lease.batches])

    def finish(self, step: SendStep) -> None:
        for message in self.with_status(*MAY_HAVE_STARTED):
            settled = self.stats(message).unsettled == 0
            may_fail = message.status is MessageStatus.SENDING and settled
            if step is SendStep.MARK_FAILED:
                nothing_left = not self.stats(message).by_status.get(DeliveryStatus.SENT)
                ended = self.messages.mark_failed({message.id: "nothing_sent"})
                assert bool(ended) is (may_fail and nothing_left)
            else:
                may_end = may_fail and message.audience_frozen_at is not None
                assert bool(self.messages.mark_sent([message.id])) is may_end

    def retry(self) -> None:
        for message in self.with_status(*MAY_HAVE_STARTED):
            failed = self.stats(message).retryable
            try:
                reopened = self.messages.retry_failed(message.id)
            except MessageNotRetryable:
                assert message.status not in {MessageStatus.SENT, MessageStatus.FAILED}
            except EventCancelled:
                assert self.event_cancelled
                assert not message.survives_event_cancel
            except MessageTooLate:
                assert not self.words_hold(message)
            else:
                assert message.status in {MessageStatus.SENT, MessageStatus.FAILED}
                assert reopened == failed
                expected = MessageStatus.SENDING if reopened else message.status
                assert self.messages.get(message.id).status is expected

    # What holds after every step.

    @invariant()
    def watch(self) -> None:
        present = {message.id: message for message in self.messages.list_by_event(self.event.id, limit=1000)}
        for before in self.seen.values():
            after = present[before.id]
            assert after.version >= before.version
            assert after.status is before.status or before.status.can_become(after.status)
            assert after.send_at is not None
            if before.status is MessageStatus.CANCELLED and before.status_reason in DECIDED:
                assert after == before
            if before.status not in EDITABLE_STATUSES and before.status is not MessageStatus.CANCELLED:
                assert (after.send_at, after.body, after.audience) == (before.send_at, before.body, before.audience)
            if after.status is MessageStatus.SENT:
                assert self.stats(after).unsettled == 0
        reminders = [message.kind for message in present.values() if message.kind is not MessageKind.BROADCAST]
        assert len(set(reminders)) == len(reminders)
        self.seen = present


def test_no_order_of_events_breaks_the_life_of_a_message(database: Database) -> None:
    class OfThisDatabase(MessageLife):
        def __init__(self) -> None:
            super().__init__(database)

    run_state_machine_as_test(
        OfThisDatabase,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            # Shrinking against a real database would outlast the test's time limit.
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
