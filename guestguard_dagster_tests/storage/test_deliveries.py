"""Delivery rows under the engine: frozen once, leased by one, never moved backwards."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from itertools import product
from threading import Barrier
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import Message, MessageAudience, MessageChannel, MessageStatus
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.storage.audiences import AudienceRepo
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries import DeliveryRepo, GroupStale, Refusal, Settlement
from guestguard_dagster.storage.schema import delivery_attempts, message_deliveries, provider_batches
from guestguard_dagster_tests.factories import (
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    read_message,
    set_columns,
)
from guestguard_dagster_tests.storage.blocking import wait_until_blocked
from guestguard_dagster_tests.storage.handing_off import A_MINUTE, HandingOff, ids_of, read_delivery, statuses

SENT = Outcome(OutcomeClass.SENT, "provider-id")
NOT_NOW = Outcome(OutcomeClass.TRANSIENT, error_class="Busy", error_code="450", detail="later")
REFUSED = Outcome(OutcomeClass.PERMANENT, error_class="NoSuchMailbox", error_code="550")

# What proof of a hand-off, and a refusal, make of a row that its process has lost; every other status stays.
LATE_NEWS = {
    DeliveryStatus.PENDING: (DeliveryStatus.SENT, DeliveryStatus.PENDING),
    DeliveryStatus.SENDING: (DeliveryStatus.SENT, DeliveryStatus.SENDING),
    DeliveryStatus.UNKNOWN: (DeliveryStatus.SENT, DeliveryStatus.FAILED),
    DeliveryStatus.FAILED: (DeliveryStatus.SENT, DeliveryStatus.FAILED),
}


@pytest.fixture
def process(database: Database) -> HandingOff:
    return HandingOff(database)


@pytest.fixture
def other(database: Database) -> HandingOff:
    """Another process, on connections of its own pool."""
    return HandingOff(database)


@pytest.fixture
def deliveries(process: HandingOff) -> DeliveryRepo:
    return process.deliveries


@pytest.fixture
def audiences(database: Database) -> AudienceRepo:
    return AudienceRepo(database)


def a_message(database: Database, recipients: int = 3) -> Message:
    """A message that is being sent, with its frozen audience."""
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENDING)
    make_deliveries(database, message, make_guests(database, event, recipients))
    return message


def attempts(database: Database, delivery_id: int) -> list[str]:
    query = select(delivery_attempts.c.outcome).where(delivery_attempts.c.delivery_id == delivery_id)
    with database.transaction() as connection:
        return list(connection.execute(query.order_by(delivery_attempts.c.id)).scalars())


def settlement(delivery_id: int, status: DeliveryStatus, outcome: Outcome | None = None, round_: int = 1) -> Settlement:
    return Settlement(delivery_id, round_, status, outcome, burns_attempt=outcome is NOT_NOW)


def let_leases_run_out(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE guestguard.message_deliveries SET lease_expires_at = clock_timestamp()"))


class TestFreezing:
    @pytest.mark.parametrize("audience", MessageAudience)
    def test_the_audience_is_who_the_message_is_for(
        self, audiences: AudienceRepo, database: Database, audience: MessageAudience
    ) -> None:
        event, elsewhere = make_event(database), make_event(database)
        guests = {rsvp: make_guests(database, event, 2, rsvp_status=rsvp) for rsvp in RsvpStatus}
        for rsvp in RsvpStatus:
            make_guests(database, event, rsvp_status=rsvp, removed_at=database.now())
            make_guests(database, elsewhere, rsvp_status=rsvp)
        message = make_message(
            database, event, audience=audience, status=MessageStatus.SENDING, channel=MessageChannel.SMS
        )

        counts = audiences.freeze([message.id])

        wanted = [
            guest.id
            for rsvp, some in guests.items()
            if audience is MessageAudience.EVERYONE or rsvp.value == audience.value
            for guest in some
        ]
        with database.transaction() as connection:
            rows = connection.execute(select(message_deliveries)).all()
        assert sorted(row.guest_id for row in rows) == sorted(wanted)
        assert {(row.message_id, row.event_id, row.channel, row.status) for row in rows} == {
            (message.id, event.id, "sms", "pending")
        }
        assert counts == {message.id: len(wanted)}
        frozen = read_message(database, message.id)
        assert frozen.recipient_count == len(wanted)
        assert frozen.audience_frozen_at is not None

    def test_an_audience_is_frozen_once(self, audiences: AudienceRepo, database: Database) -> None:
        event = make_event(database)
        make_guests(database, event, 2)
        message = make_message(database, event, status=MessageStatus.SENDING)
        audiences.freeze([message.id])
        frozen_at = read_message(database, message.id).audience_frozen_at

        make_guests(database, event, 3)

        assert audiences.freeze([message.id]) == {message.id: 2}
        assert read_message(database, message.id).audience_frozen_at == frozen_at

    def test_an_empty_audience_is_frozen_too(self, audiences: AudienceRepo, database: Database) -> None:
        message = make_message(database, make_event(database), status=MessageStatus.SENDING)
        assert audiences.freeze([message.id]) == {message.id: 0}
        assert read_message(database, message.id).recipient_count == 0

    def test_only_what_is_being_sent_is_frozen(self, audiences: AudienceRepo, database: Database) -> None:
        event = make_event(database)
        others = [make_message(database, event, status=s) for s in MessageStatus if s is not MessageStatus.SENDING]
        assert audiences.freeze([*(message.id for message in others), uuid4()]) == {}
        assert all(read_message(database, message.id).audience_frozen_at is None for message in others)

    def test_two_processes_that_freeze_at_once_write_one_row_per_guest(
        self, audiences: AudienceRepo, database: Database
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 50)
        message = make_message(database, event, status=MessageStatus.SENDING)
        start = Barrier(4)

        def freeze(_: int) -> dict[UUID, int]:
            start.wait()
            return audiences.freeze([message.id])

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(freeze, range(4))) == [{message.id: 50}] * 4
        assert len(HandingOff(database).lease(message).recipients) == 50


class TestLeasing:
    def test_nobody_leases_what_another_has_leased(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 5)
        first = process.lease(message, size=3)
        second = other.lease(message)
        assert (len(first.recipients), len(second.recipients)) == (3, 2)
        assert not set(ids_of(first)) & set(ids_of(second))
        assert set(statuses(database, ids_of(first))) == {"pending"}

    def test_many_processes_at_once_share_the_rows_without_overlap(self, database: Database) -> None:
        message = a_message(database, 200)
        start = Barrier(4)

        def lease_all(_: int) -> list[int]:
            process, mine = HandingOff(database), []
            start.wait()
            while found := process.lease(message, size=7).recipients:
                mine += [facts.delivery_id for facts in found]
            return mine

        with ThreadPoolExecutor(4) as pool:
            leased = [delivery_id for part in pool.map(lease_all, range(4)) for delivery_id in part]
        leased += ids_of(HandingOff(database).lease(message, size=500, per_source=500))
        assert len(leased) == len(set(leased)) == 200

    def test_rows_that_somebody_writes_at_present_are_passed_over(
        self, process: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 3)
        with database.transaction() as elsewhere:
            elsewhere.execute(
                text(
                    "SELECT id FROM guestguard.message_deliveries WHERE message_id = :id ORDER BY id LIMIT 1 FOR UPDATE"
                ),
                {"id": message.id},
            )
            assert len(process.lease(message).recipients) == 2

    def test_a_lease_that_ran_out_is_free(self, process: HandingOff, other: HandingOff, database: Database) -> None:
        message = a_message(database)
        first = process.lease(message)
        let_leases_run_out(database)
        assert ids_of(other.lease(message)) == ids_of(first)

    def test_a_row_that_waits_for_its_next_try_is_not_leased(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 2)
        [waiting, _] = ids_of(process.lease(message))
        let_leases_run_out(database)
        set_columns(database, waiting, next_attempt_at=database.now() + A_MINUTE)
        assert waiting not in ids_of(process.lease(message))
        set_columns(database, waiting, next_attempt_at=database.now())
        assert ids_of(process.lease(message)) == (waiting,)

    def test_only_pending_rows_are_leased(self, process: HandingOff, database: Database) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        by_status = {
            status: make_deliveries(database, message, make_guests(database, event), status=status)
            for status in DeliveryStatus
        }
        assert list(ids_of(process.lease(message))) == by_status[DeliveryStatus.PENDING]

    def test_every_message_gets_its_share_of_a_group(self, process: HandingOff, database: Database) -> None:
        big, small = a_message(database, 20), a_message(database, 2)
        lease = process.lease(big, small, size=10, per_source=5)
        assert [facts.source_id for facts in lease.recipients].count(big.id) == 5
        assert [facts.source_id for facts in lease.recipients].count(small.id) == 2

    def test_the_cursor_leaves_out_what_was_looked_at(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 4)
        first = ids_of(process.lease(message, size=2))
        let_leases_run_out(database)
        assert min(ids_of(process.lease(message, after=max(first)))) > max(first)

    def test_rows_given_back_are_free_at_once(self, process: HandingOff, other: HandingOff, database: Database) -> None:
        message = a_message(database)
        lease = process.lease(message)
        process.deliveries.release(lease.token)
        assert ids_of(other.lease(message)) == ids_of(lease)

    @pytest.mark.parametrize(("marked_too", "status"), [(False, "sending"), (True, "pending")])
    def test_a_row_marked_as_leaving_is_given_back_only_by_who_knows_that_it_did_not(
        self, process: HandingOff, database: Database, marked_too: bool, status: str
    ) -> None:
        lease = process.lease(a_message(database, 1))
        process.mark(lease)
        process.deliveries.release(lease.token, marked_too=marked_too)
        assert statuses(database, ids_of(lease)) == [status]


class TestMarking:
    def test_a_marked_row_says_where_it_is_going(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 2))
        batch_id = process.mark(lease, in_batch=True)
        for delivery_id in ids_of(lease):
            row = read_delivery(database, delivery_id)
            assert (row.status, row.provider, row.account) == ("sending", "resend", process.account)
            assert (row.batch_id, row.lease_token) == (batch_id, lease.token)
            assert row.lease_expires_at - database.now() > A_MINUTE / 2
        with database.transaction() as connection:
            batch = connection.execute(select(provider_batches)).one()
        assert (batch.id, batch.body, tuple(batch.members)) == (batch_id, b"compressed request", ids_of(lease))

    @pytest.mark.parametrize(
        "change",
        [
            {"lease_token": uuid4()},
            {"lease_token": None},
            {"status": DeliveryStatus.SENT},
            {"status": DeliveryStatus.UNKNOWN},
        ],
    )
    def test_one_row_that_is_no_longer_ours_keeps_the_whole_group_back(
        self, process: HandingOff, database: Database, change: dict[str, object]
    ) -> None:
        lease = process.lease(a_message(database, 3))
        set_columns(database, ids_of(lease)[1], **change)
        with pytest.raises(GroupStale, match="1 of 3"):
            process.mark(lease, in_batch=True)
        assert "sending" not in statuses(database, ids_of(lease))
        with database.transaction() as connection:
            assert connection.execute(select(provider_batches)).all() == []

    def test_a_message_that_is_held_since_keeps_the_whole_group_back(
        self, process: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 2)
        lease = process.lease(message)
        set_columns(database, message, held_at=database.now())
        with pytest.raises(GroupStale, match="2 of 2"):
            process.mark(lease)

    @pytest.mark.parametrize("survives", [True, False])
    def test_a_cancelled_event_keeps_back_what_does_not_survive_it(
        self, process: HandingOff, database: Database, *, survives: bool
    ) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING, survives_event_cancel=survives)
        make_deliveries(database, message, make_guests(database, event, 2))
        lease = process.lease(message)
        set_columns(database, event, cancelled_at=database.now())
        with nullcontext() if survives else pytest.raises(GroupStale, match="2 of 2"):
            process.mark(lease)

    def test_a_lease_that_ran_out_marks_nothing_even_if_nobody_took_it(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 2))
        let_leases_run_out(database)
        with pytest.raises(GroupStale):
            process.mark(lease)
        assert statuses(database, ids_of(lease)) == ["pending", "pending"]

    def test_marking_is_repeated_when_its_answer_was_lost(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 2))
        process.mark(lease, in_batch=True)
        batch_id = process.mark(lease, in_batch=True)
        assert {read_delivery(database, id).batch_id for id in ids_of(lease)} == {batch_id}

    def test_two_processes_that_mark_the_same_row_do_not_both_succeed(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 1)
        frozen = process.lease(message)
        let_leases_run_out(database)
        taken_over = other.lease(message)
        other.mark(taken_over)
        with pytest.raises(GroupStale):
            process.mark(frozen)
        assert read_delivery(database, ids_of(frozen)[0]).lease_token == taken_over.token


class TestRefusing:
    REFUSAL = (DeliveryStatus.SKIPPED, "not_in_audience")

    def refusals(self, *delivery_ids: int) -> list[Refusal]:
        return [Refusal(delivery_id, *self.REFUSAL) for delivery_id in delivery_ids]

    def test_the_holder_settles_rows_that_are_not_to_leave(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 2))
        first, second = ids_of(lease)
        with database.transaction() as connection:
            process.deliveries.refuse(connection, lease.token, self.refusals(first))
            process.deliveries.refuse(connection, uuid4(), self.refusals(second))
        refused = read_delivery(database, first)
        assert (refused.status, refused.reason) == self.REFUSAL
        assert refused.settled_at is not None
        assert (refused.lease_token, refused.lease_expires_at) == (None, None)
        assert read_delivery(database, second).status == "pending"

    def test_the_preflight_settles_only_what_nobody_holds(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 2)
        [held] = ids_of(process.lease(message, size=1))
        everyone = [facts.delivery_id for facts in AudienceRepo(database).pending_page({message.id: 0}, per_source=10)]
        AudienceRepo(database).refuse_pending(self.refusals(*everyone))
        assert statuses(database, [held]) == ["pending"]
        assert statuses(database, [id for id in everyone if id != held]) == ["skipped"]

    def test_a_broken_message_fails_whole_but_for_what_is_held_or_settled(
        self, process: HandingOff, database: Database
    ) -> None:
        message, another = a_message(database, 4), a_message(database, 1)
        [held] = ids_of(process.lease(message, size=1))
        [sent, *rest] = ids_of(process.lease(message))
        let_leases_run_out(database)
        set_columns(database, held, lease_expires_at=database.now() + A_MINUTE)
        set_columns(database, sent, status=DeliveryStatus.SENT)

        assert AudienceRepo(database).refuse_all_pending(message.id, DeliveryStatus.FAILED, "template refused") == 2

        assert statuses(database, [held, sent, *rest]) == ["pending", "sent", "failed", "failed"]
        assert len(process.lease(another).recipients) == 1

    def test_a_page_goes_on_behind_its_cursor_for_each_message(
        self, audiences: AudienceRepo, database: Database
    ) -> None:
        first, second = a_message(database, 3), a_message(database, 1)
        page = audiences.pending_page({first.id: 0, second.id: 0}, per_source=2)
        mine = [facts.delivery_id for facts in page if facts.source_id == first.id]
        assert len(page) == 3
        rest = audiences.pending_page({first.id: mine[-1]}, per_source=2)
        assert len(rest) == 1
        assert rest[0].delivery_id > mine[-1]


class TestFolding:
    def test_an_outcome_is_recorded_and_settles_its_row(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 1))
        [delivery_id] = ids_of(lease)
        process.mark(lease)
        answered_at = database.now()

        process.fold(lease.token, settlement(delivery_id, DeliveryStatus.SENT, SENT), ago=A_MINUTE)

        row = read_delivery(database, delivery_id)
        assert (row.status, row.provider_message_id) == ("sent", "provider-id")
        assert (row.lease_token, row.lease_expires_at, row.next_attempt_at) == (None, None, None)
        assert row.settled_at >= answered_at
        assert abs(answered_at - row.handed_off_at - A_MINUTE) < A_MINUTE / 2
        with database.transaction() as connection:
            attempt = connection.execute(select(delivery_attempts)).one()
        assert (attempt.outcome, attempt.run_id, attempt.account) == ("sent", "run", process.account)
        assert abs(attempt.attempted_at - row.handed_off_at) < A_MINUTE / 2

    def test_a_row_answered_not_now_waits_and_counts_its_attempt(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 1))
        [delivery_id] = ids_of(lease)
        process.mark(lease)
        wait = timedelta(minutes=3)
        process.fold(
            lease.token,
            Settlement(
                delivery_id, 1, DeliveryStatus.PENDING, NOT_NOW, "retry", burns_attempt=True, next_attempt_in=wait
            ),
        )
        row = read_delivery(database, delivery_id)
        assert (row.status, row.reason, row.attempts, row.settled_at) == ("pending", "retry", 1, None)
        assert (row.error_class, row.error_code, row.error_detail) == ("Busy", "450", "later")
        assert wait - A_MINUTE < row.next_attempt_at - database.now() <= wait
        assert attempts(database, delivery_id) == ["transient"]

    def test_a_row_that_certainly_never_left_leaves_no_attempt(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 1))
        process.mark(lease)
        process.fold(lease.token, settlement(ids_of(lease)[0], DeliveryStatus.PENDING))
        assert statuses(database, ids_of(lease)) == ["pending"]
        assert attempts(database, ids_of(lease)[0]) == []

    def test_folding_is_repeated_when_its_answer_was_lost(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 2))
        first, second = ids_of(lease)
        process.mark(lease)
        for _ in range(2):
            process.fold(
                lease.token,
                settlement(first, DeliveryStatus.SENT, SENT),
                settlement(second, DeliveryStatus.PENDING, NOT_NOW),
            )
        assert statuses(database, [first, second]) == ["sent", "pending"]
        assert read_delivery(database, second).attempts == 1
        assert attempts(database, first) == ["sent"]
        assert attempts(database, second) == ["transient"]

    def test_late_news_about_a_row_that_is_no_longer_ours_only_proves(
        self, process: HandingOff, database: Database
    ) -> None:
        for status in DeliveryStatus:
            lease = process.lease(a_message(database, 3))
            process.mark(lease)
            proven, refused, not_now = ids_of(lease)
            for delivery_id in ids_of(lease):
                set_columns(database, delivery_id, status=status, lease_token=uuid4())

            process.fold(
                lease.token,
                settlement(proven, DeliveryStatus.SENT, SENT),
                settlement(refused, DeliveryStatus.FAILED, REFUSED),
                settlement(not_now, DeliveryStatus.PENDING, NOT_NOW),
            )

            by_sent, by_refused = LATE_NEWS.get(status, (status, status))
            assert statuses(database, ids_of(lease)) == [by_sent, by_refused, status]
            for delivery_id, outcome in zip(ids_of(lease), ("sent", "permanent", "transient"), strict=True):
                assert attempts(database, delivery_id) == [outcome], "an attempt is proof, whatever became of the row"

    def test_a_late_refusal_of_an_earlier_round_does_not_fail_the_present_one(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 1))
        [delivery_id] = ids_of(lease)
        process.mark(lease)
        set_columns(database, delivery_id, status=DeliveryStatus.UNKNOWN, round=2, lease_token=None)
        process.fold(lease.token, settlement(delivery_id, DeliveryStatus.FAILED, REFUSED, round_=1))
        assert statuses(database, [delivery_id]) == ["unknown"]

    def test_a_row_moves_only_as_the_states_allow(self, process: HandingOff, database: Database) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        token = uuid4()
        targets = [
            DeliveryStatus.PENDING,
            DeliveryStatus.SENDING,
            DeliveryStatus.SENT,
            DeliveryStatus.FAILED,
            DeliveryStatus.SKIPPED,
            DeliveryStatus.UNKNOWN,
        ]
        for before, target, mine in product(DeliveryStatus, targets, (True, False)):
            [delivery_id] = make_deliveries(
                database,
                message,
                make_guests(database, event),
                status=before,
                lease_token=token if mine else uuid4(),
            )
            process.fold(token, settlement(delivery_id, target, SENT if target is DeliveryStatus.SENT else None))
            after = DeliveryStatus(read_delivery(database, delivery_id).status)
            assert after is before or before.can_become(after), f"{before} became {after}"

    def test_proof_for_a_delivery_that_was_deleted_costs_the_others_nothing(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 2))
        process.mark(lease)
        deleted, kept = ids_of(lease)
        with database.transaction() as connection:
            connection.execute(text("DELETE FROM guestguard.message_deliveries WHERE id = :id"), {"id": deleted})
        process.fold(
            lease.token,
            settlement(deleted, DeliveryStatus.SENT, SENT),
            settlement(kept, DeliveryStatus.SENT, SENT),
        )
        assert statuses(database, [kept]) == ["sent"]
        assert attempts(database, kept) == ["sent"]


class TestUnsettled:
    def test_it_counts_what_is_left_and_for_how_long_nothing_can_move(
        self, process: HandingOff, database: Database
    ) -> None:
        message, done = a_message(database, 3), a_message(database, 1)
        [leased, waiting] = ids_of(process.lease(message, size=2))
        set_columns(database, waiting, lease_expires_at=None, next_attempt_at=database.now() + 10 * A_MINUTE)
        set_columns(database, ids_of(process.lease(done))[0], status=DeliveryStatus.SENT)
        [free] = ids_of(process.lease(message))
        set_columns(database, free, lease_expires_at=None)

        [left] = process.deliveries.unsettled([message.id, done.id])
        assert (left.source_id, left.pending, left.sending, left.wake_in) == (message.id, 3, 0, timedelta())

        set_columns(database, free, status=DeliveryStatus.FAILED)
        [left] = process.deliveries.unsettled([message.id])
        assert A_MINUTE / 2 < left.wake_in <= A_MINUTE, "until the lease of another process runs out"

        set_columns(database, leased, status=DeliveryStatus.SENT)
        [left] = process.deliveries.unsettled([message.id])
        assert 9 * A_MINUTE < left.wake_in <= 10 * A_MINUTE


def test_a_fold_waits_for_who_writes_the_row_at_present(process: HandingOff, database: Database) -> None:
    lease = process.lease(a_message(database, 1))
    [delivery_id] = ids_of(lease)
    process.mark(lease)
    with ThreadPoolExecutor(1) as pool, database.transaction() as callback:
        callback.execute(
            text("UPDATE guestguard.message_deliveries SET status = 'bounced', lease_token = NULL WHERE id = :id"),
            {"id": delivery_id},
        )
        folding = pool.submit(process.fold, lease.token, settlement(delivery_id, DeliveryStatus.SENT, SENT))
        wait_until_blocked(database)
        callback.commit()
        folding.result()
    assert statuses(database, [delivery_id]) == ["bounced"]
