"""Batches before a hand-off: leased by one, and marked only while they may leave."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import text

from guestguard_dagster.domain.deliveries import BatchState, DeliveryStatus
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import Message, MessageAudience, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.batches import BatchStale
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out
from guestguard_dagster_tests.factories import (
    make_batch,
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    set_columns,
)
from guestguard_dagster_tests.storage.handing_off import (
    A_MINUTE,
    ACCOUNT,
    BODY,
    HandingOff,
    a_message,
    batches_of,
    ids_of,
    read_batch,
    set_batch,
    statuses,
)


class TestLeasing:
    def test_nobody_leases_what_another_has_leased(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 2, 2, 3)
        first = process.lease(message, limit=2)
        second = other.lease(message)
        assert (len(ids_of(first)), len(ids_of(second))) == (4, 3)
        assert not set(ids_of(first)) & set(ids_of(second))
        assert set(statuses(database, ids_of(first))) == {"pending"}
        assert other.lease(message).batches == ()

    def test_one_of_two_processes_at_once_leases_a_batch(self, database: Database) -> None:
        for _ in range(5):
            message = a_message(database)
            start = Barrier(2)

            def lease(_: int, message: Message = message, start: Barrier = start) -> int:
                process = HandingOff(database)
                start.wait()
                return len(process.lease(message).batches)

            with ThreadPoolExecutor(2) as pool:
                assert sorted(pool.map(lease, range(2))) == [0, 1]

    def test_many_processes_at_once_share_the_batches_without_overlap(self, database: Database) -> None:
        message = a_message(database, *[3] * 60)
        start = Barrier(4)

        def lease_all(_: int) -> list[int]:
            mine: list[int] = []
            process = HandingOff(database)
            start.wait()
            while leased := ids_of(process.lease(message, limit=2)):
                mine += leased
            return mine

        with ThreadPoolExecutor(4) as pool:
            leased = [delivery_id for part in pool.map(lease_all, range(4)) for delivery_id in part]
        # what another process had locked at that moment was passed over
        leased += ids_of(HandingOff(database).lease(message))
        assert len(leased) == len(set(leased)) == 180

    def test_a_batch_that_somebody_has_locked_is_passed_over_and_not_waited_for(
        self, process: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 1, 2)
        locked, free = batches_of(database, message)
        with database.transaction() as elsewhere:
            elsewhere.execute(text("SELECT id FROM delivery_batches WHERE id = :id FOR UPDATE"), {"id": locked.id})
            assert [batch.id for batch in process.lease(message).batches] == [free.id]
        assert [batch.id for batch in process.lease(message).batches] == [locked.id]

    def test_a_lease_that_ran_out_is_free(self, process: HandingOff, other: HandingOff, database: Database) -> None:
        message = a_message(database)
        first = process.lease(message)
        let_leases_run_out(database)
        assert ids_of(other.lease(message)) == ids_of(first)

    def test_a_batch_that_waits_is_not_leased_before_its_time(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 1, 1)
        waiting, free = batches_of(database, message)
        set_batch(database, waiting.id, not_before=database.now() + A_MINUTE)
        assert [batch.id for batch in process.lease(message).batches] == [free.id]
        set_batch(database, waiting.id, not_before=database.now())
        assert [batch.id for batch in process.lease(message).batches] == [waiting.id]

    def test_batches_to_be_tried_again_come_first_the_longest_waiting_before_the_others(
        self, process: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 1, 1, 1, 1)
        first, second, again, longest = (batch.id for batch in batches_of(database, message))
        now = database.now()
        set_batch(database, again, not_before=now - A_MINUTE)
        set_batch(database, longest, not_before=now - 2 * A_MINUTE)
        order = [process.lease(message, limit=1).batches[0].id for _ in range(4)]
        assert order == [longest, again, first, second]

    def test_only_free_batches_that_are_not_under_way_or_done_are_leased(
        self, process: HandingOff, database: Database
    ) -> None:
        message = make_message(database, make_event(database), status=MessageStatus.SENDING)
        by_state = {state: make_batch(database, message, state=state) for state in BatchState}
        leased = {batch.id for batch in process.lease(message).batches}
        # one that is leased without a lease that holds is free
        assert leased == {by_state[BatchState.PENDING], by_state[BatchState.LEASED]}

    def test_only_members_that_are_open_are_in_a_leased_batch(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 3)
        [batch] = batches_of(database, message)
        settled, *open_ones = ids_of(process.lease(message))
        set_columns(database, settled, status=DeliveryStatus.DELIVERED)
        process.batches.release(read_batch(database, batch.id).lease_token, [batch.id])
        assert list(ids_of(process.lease(message))) == open_ones

    def test_every_message_gets_its_share(self, process: HandingOff, database: Database) -> None:
        big, small = a_message(database, *[1] * 20), a_message(database, 1, 1)
        lease = process.lease(big, small, limit=10, per_queue=5)
        queues = [batch.queue_id for batch in lease.batches]
        assert (queues.count(big.id), queues.count(small.id)) == (5, 2)

    def test_the_first_queues_come_first_when_there_is_not_room_for_all(
        self, process: HandingOff, database: Database
    ) -> None:
        first, second = a_message(database, 1, 1), a_message(database, 1, 1)
        lease = process.lease(second, first, limit=3, per_queue=2)
        assert sorted(batch.queue_id == second.id for batch in lease.batches) == [False, True, True]

    def test_a_leased_batch_says_who_its_recipients_are_as_they_are_now(
        self, process: HandingOff, database: Database
    ) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        [ada, bob] = make_guests(database, event, 2)
        first, second = make_deliveries(database, message, [ada, bob])
        set_columns(database, ada, name="Ada", rsvp_status=RsvpStatus.DECLINED)
        set_columns(database, bob, removed_at=database.now())
        set_columns(database, second, round=3, attempts=2, first_attempt_at=database.now() - A_MINUTE)

        [batch] = process.lease(message).batches

        assert (batch.queue_id, batch.message_id) == (message.id, message.id)
        assert batch.key == batches_of(database, message)[0].key
        of_ada, of_bob = batch.recipients
        assert (of_ada.delivery_id, of_ada.guest_name, of_ada.rsvp_status) == (first, "Ada", "declined")
        assert (of_ada.removed, of_ada.trying_for) == (False, None)
        assert (of_bob.removed, of_bob.round, of_bob.attempts) == (True, 3, 2)
        assert of_bob.trying_for is not None
        assert A_MINUTE <= of_bob.trying_for < 2 * A_MINUTE

    def test_batches_given_back_are_free_at_once(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 1, 1)
        lease = process.lease(message)
        kept, given_back = lease.batches
        process.batches.release(lease.token, [given_back.id])
        assert [batch.id for batch in other.lease(message).batches] == [given_back.id]
        assert read_batch(database, kept.id).lease_token == lease.token

    def test_nobody_gives_back_what_is_another_process_own(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database)
        first = process.lease(message)
        let_leases_run_out(database)
        taken_over = other.lease(message)
        process.batches.release(first.token, [batch.id for batch in first.batches])
        assert read_batch(database, first.batches[0].id).lease_token == taken_over.token

    def test_a_batch_marked_as_leaving_is_not_given_back(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 1))
        process.mark(lease)
        process.batches.release(lease.token, [batch.id for batch in lease.batches])
        assert statuses(database, ids_of(lease)) == ["sending"]


class TestMarking:
    def test_a_marked_batch_says_where_it_is_going(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 2, 1))
        process.mark(lease, fixed=True)
        assert statuses(database, ids_of(lease)) == ["sending"] * 3
        for batch in lease.batches:
            row = read_batch(database, batch.id)
            assert (row.state, row.provider, row.account, row.run_id) == ("sending", "resend", ACCOUNT, "run")
            assert (row.key, row.lease_token, row.not_before) == (batch.key, lease.token, None)
            assert row.lease_expires_at - database.now() > A_MINUTE / 2
            assert (row.endpoint, bytes(row.body)) == ("/emails/batch", BODY)
            assert row.members == [recipient.delivery_id for recipient in batch.recipients]
            assert row.handed_off_at is not None

    def test_where_a_repeat_is_not_recognised_nothing_is_kept_to_be_repeated(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database))
        process.mark(lease)
        row = read_batch(database, lease.batches[0].id)
        assert (row.endpoint, row.members, row.body) == (None, None, None)

    @pytest.mark.parametrize(
        "change",
        [
            {"lease_token": uuid4()},
            {"lease_token": None},
            {"state": BatchState.PENDING},
            {"state": BatchState.DONE},
        ],
        ids=["another's", "nobody's", "given back", "done"],
    )
    def test_one_batch_that_is_no_longer_ours_keeps_all_of_them_back(
        self, process: HandingOff, database: Database, change: dict[str, object]
    ) -> None:
        lease = process.lease(a_message(database, 1, 1, 1))
        set_batch(database, lease.batches[1].id, **change)
        with pytest.raises(BatchStale, match="1 of 3"):
            process.mark(lease, fixed=True)
        assert "sending" not in statuses(database, ids_of(lease))
        assert all(read_batch(database, batch.id).body is None for batch in lease.batches)

    def test_a_message_that_is_held_since_keeps_its_batches_back(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 1, 1)
        lease = process.lease(message)
        set_columns(database, message, held_at=database.now())
        with pytest.raises(BatchStale, match="2 of 2"):
            process.mark(lease)

    @pytest.mark.parametrize("status", [each for each in MessageStatus if each is not MessageStatus.SENDING])
    def test_only_a_message_that_is_being_sent_leaves(
        self, process: HandingOff, database: Database, status: MessageStatus
    ) -> None:
        message = a_message(database)
        lease = process.lease(message)
        set_columns(database, message, status=status)
        with pytest.raises(BatchStale, match="1 of 1"):
            process.mark(lease)

    def test_a_guest_who_was_removed_since_keeps_the_batch_back(self, process: HandingOff, database: Database) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        guests = make_guests(database, event, 3)
        make_deliveries(database, message, guests)
        lease = process.lease(message)
        set_columns(database, guests[1], removed_at=database.now())
        with pytest.raises(BatchStale, match="1 of 1"):
            process.mark(lease)

    @pytest.mark.parametrize(
        ("audience", "may_leave"), [(MessageAudience.PENDING, False), (MessageAudience.EVERYONE, True)]
    )
    def test_a_guest_who_answered_since_keeps_the_batch_back_where_that_matters(
        self, process: HandingOff, database: Database, audience: MessageAudience, *, may_leave: bool
    ) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING, audience=audience)
        guests = make_guests(database, event, 3, rsvp_status=RsvpStatus.PENDING)
        make_deliveries(database, message, guests)
        lease = process.lease(message)
        set_columns(database, guests[1], rsvp_status=RsvpStatus.DECLINED)
        with nullcontext() if may_leave else pytest.raises(BatchStale, match="1 of 1"):
            process.mark(lease)

    def test_a_removed_guest_whose_delivery_is_settled_keeps_nobody_back(
        self, process: HandingOff, database: Database
    ) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        guests = make_guests(database, event, 2)
        skipped, _ = make_deliveries(database, message, guests)
        lease = process.lease(message)
        set_columns(database, guests[0], removed_at=database.now())
        set_columns(database, skipped, status=DeliveryStatus.SKIPPED)
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
        with nullcontext() if survives else pytest.raises(BatchStale, match="1 of 1"):
            process.mark(lease)

    def test_a_lease_that_ran_out_marks_nothing_even_if_nobody_took_it(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 2))
        let_leases_run_out(database)
        with pytest.raises(BatchStale):
            process.mark(lease)
        assert statuses(database, ids_of(lease)) == ["pending", "pending"]

    def test_marking_is_repeated_when_its_answer_was_lost(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 2))
        process.mark(lease, fixed=True)
        first = read_batch(database, lease.batches[0].id)
        process.mark(lease, fixed=True)
        again = read_batch(database, lease.batches[0].id)
        assert (again.key, again.body, again.handed_off_at) == (first.key, first.body, first.handed_off_at)

    def test_two_processes_that_mark_the_same_batch_do_not_both_succeed(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 1)
        frozen = process.lease(message)
        let_leases_run_out(database)
        taken_over = other.lease(message)
        other.mark(taken_over)
        with pytest.raises(BatchStale):
            process.mark(frozen)
        row = read_batch(database, frozen.batches[0].id)
        assert (row.lease_token, row.run_id) == (taken_over.token, "other run")
