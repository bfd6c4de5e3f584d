"""The life of messages under any order of what hosts, runs and time do to them."""

from datetime import timedelta
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from guestguard_dagster.domain.deliveries import DeliveryNews, DeliveryStatus
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
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import EventCancelled, MessageNotEditable, MessageNotRetryable
from guestguard_dagster.storage.events import EventRepo
from guestguard_dagster.storage.messages import MessageRepo
from guestguard_dagster_tests.factories import make_deliveries, make_guests, make_user, set_columns

A_DAY = timedelta(days=1)
DUE, AHEAD = -A_DAY / 24, A_DAY

# Nothing moves these but an explicit retry, and nothing at all moves what a host or the event's end has decided.
DECIDED = {CancelReason.HOST, CancelReason.EVENT_CANCELLED}


class MessageLife(RuleBasedStateMachine):
    """One event with its reminders and any number of broadcasts. `seen` is every message as it was one step before."""

    broadcasts: Bundle[UUID] = Bundle("broadcasts")

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.messages = MessageRepo(database)
        self.events = EventRepo(database)
        draft = EventDraft("Party", "Here", database.now() + 10 * A_DAY, "Europe/Berlin")
        self.event = self.events.create(draft, make_user(database).id)
        self.guests = make_guests(database, self.event, 2)
        self.seen: dict[UUID, Message] = {}
        self.watch()

    def now(self, message_id: UUID) -> Message:
        return self.messages.get(message_id)

    @property
    def event_cancelled(self) -> bool:
        return self.event.cancelled_at is not None

    # What a host does.

    @rule(
        target=broadcasts,
        status=st.sampled_from(sorted(EDITABLE_STATUSES)),
        send_in=st.sampled_from([DUE, AHEAD]),
        survives=st.booleans(),
    )
    def write(self, status: MessageStatus, send_in: timedelta, survives: bool) -> UUID | MultipleResults[UUID]:
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
            message = self.messages.create(draft)
        except EventCancelled:
            assert self.event_cancelled
            return multiple()
        assert not self.event_cancelled
        return message.id

    @rule(
        message_id=broadcasts,
        status=st.none() | st.sampled_from(sorted(EDITABLE_STATUSES)),
        send_in=st.none() | st.sampled_from([DUE, AHEAD]),
    )
    def edit(self, message_id: UUID, status: MessageStatus | None, send_in: timedelta | None) -> None:
        before = self.now(message_id)
        send_at = None if send_in is None else self.database.now() + send_in
        try:
            after = self.messages.update(
                message_id, MessageChanges(status=status, send_at=send_at), expected_version=before.version
            )
        except MessageNotEditable:
            assert before.status not in EDITABLE_STATUSES
            return
        assert before.status in EDITABLE_STATUSES
        assert (after.status, after.send_at) == (status or before.status, send_at or before.send_at)

    @rule(message_id=broadcasts, send_now=st.booleans())
    def cancel_or_send_now(self, message_id: UUID, send_now: bool) -> None:
        before = self.now(message_id)
        try:
            after = (self.messages.promote_to_scheduled if send_now else self.messages.cancel)(message_id)
        except MessageNotEditable:
            assert before.status not in EDITABLE_STATUSES
            return
        assert before.status in EDITABLE_STATUSES
        assert after.status is (MessageStatus.SCHEDULED if send_now else MessageStatus.CANCELLED)

    @rule(days=st.integers(-25, 25))
    def move_event(self, days: int) -> None:
        starts_at = self.event.starts_at + days * A_DAY
        if self.event_cancelled or starts_at < self.database.now() + A_DAY:
            return
        self.event = self.events.move(self.event.id, starts_at=starts_at)

    @rule()
    def cancel_event(self) -> None:
        self.event = self.events.cancel(self.event.id)
        unsent = self.messages.list_by_event(self.event.id, statuses=EDITABLE_STATUSES, limit=1000)
        assert all(message.survives_event_cancel for message in unsent)

    # What runs do.

    @rule()
    def claim_everything(self) -> None:
        now = self.database.now()
        claimable = {
            message.id
            for message in self.seen.values()
            if message.status is MessageStatus.SCHEDULED
            and message.send_at is not None
            and message.send_at <= now
            and message.held_at is None
            and (message.survives_event_cancel or not self.event_cancelled)
        }
        assert set(self.messages.claim_due(list(self.seen))) == claimable

    @rule(message_id=broadcasts, resume=st.booleans())
    def hold_or_resume(self, message_id: UUID, resume: bool) -> None:
        if resume and self.now(message_id).held_at is not None:
            if self.now(message_id).status in {MessageStatus.SCHEDULED, MessageStatus.SENDING}:
                assert self.messages.resume(message_id).held_at is None
        else:
            self.messages.hold([message_id], reason="terminated")

    @rule(message_id=broadcasts)
    def freeze(self, message_id: UUID) -> None:
        if self.now(message_id).status is not MessageStatus.SENDING:
            return
        if self.now(message_id).audience_frozen_at is None:
            make_deliveries(self.database, self.now(message_id), self.guests)
            set_columns(self.database, self.now(message_id), audience_frozen_at=self.database.now())

    @rule(message_id=broadcasts, news=st.sampled_from([DeliveryStatus.SENT, DeliveryStatus.FAILED]))
    def settle(self, message_id: UUID, news: DeliveryStatus) -> None:
        for recipient in self.messages.load_recipients(message_id, statuses=[DeliveryStatus.PENDING]):
            self.messages.record_delivery(recipient.delivery_id, DeliveryNews(news, retryable=True))

    @rule(message_id=broadcasts, sent=st.booleans())
    def finish(self, message_id: UUID, sent: bool) -> None:
        before, stats = self.now(message_id), self.messages.delivery_stats(message_id)
        may_end = before.status is MessageStatus.SENDING and stats.unsettled == 0
        if sent:
            expected = may_end and before.audience_frozen_at is not None
            assert self.messages.mark_sent(message_id) is expected
        else:
            assert self.messages.mark_failed(message_id, "nothing_sent") is may_end

    @rule(message_id=broadcasts)
    def retry(self, message_id: UUID) -> None:
        before, stats = self.now(message_id), self.messages.delivery_stats(message_id)
        try:
            reopened = self.messages.retry_failed(message_id)
        except MessageNotRetryable:
            assert before.status not in {MessageStatus.SENT, MessageStatus.FAILED}
        except EventCancelled:
            assert self.event_cancelled
            assert not before.survives_event_cancel
        else:
            assert reopened == stats.retryable
            assert self.now(message_id).status is (MessageStatus.SENDING if reopened else before.status)

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
                assert self.messages.delivery_stats(after.id).unsettled == 0
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
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
