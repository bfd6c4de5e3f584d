"""Batches after a hand-off: closed once, moved on, and what is left of a queue."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import text

from guestguard_dagster.domain.deliveries import BatchState, DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out
from guestguard_dagster_tests.factories import (
    read_message,
    set_columns,
)
from guestguard_dagster_tests.storage.blocking import wait_until_blocked
from guestguard_dagster_tests.storage.handing_off import (
    A_MINUTE,
    HandingOff,
    a_message,
    batches_of,
    ids_of,
    read_batch,
    read_delivery,
    set_batch,
    statuses,
)


class TestClosing:
    def test_a_closed_batch_is_done_and_nobody_leases_it(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database)
        lease = process.lease(message)
        process.mark(lease)
        assert process.settle(lease) == {lease.batches[0].id}
        row = read_batch(database, lease.batches[0].id)
        assert (row.state, row.lease_token, row.lease_expires_at) == ("done", None, None)
        assert other.lease(message).batches == ()

    def test_closing_is_repeated_when_its_answer_was_lost_and_holds_nothing_then(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 1, 1))
        process.mark(lease)
        assert process.settle(lease) == {batch.id for batch in lease.batches}
        assert process.settle(lease) == frozenset()
        assert {read_batch(database, batch.id).state for batch in lease.batches} == {"done"}

    def test_nobody_closes_what_another_process_has_taken_over(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database)
        lost = process.lease(message)
        let_leases_run_out(database)
        other.mark(other.lease(message))
        assert process.settle(lost) == frozenset()
        assert read_batch(database, lost.batches[0].id).state == "sending"

    def test_a_batch_whose_request_is_repeated_waits_for_that_and_is_nobodys(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database))
        process.mark(lease, fixed=True)
        for held in ({lease.batches[0].id}, set()):
            assert process.settle(lease, repeat_in=3 * A_MINUTE) == held
        row = read_batch(database, lease.batches[0].id)
        assert (row.state, row.lease_token) == ("sending", None)
        assert 2 * A_MINUTE < row.lease_expires_at - database.now() <= 3 * A_MINUTE

    def test_a_batch_that_has_no_open_member_left_is_leased_empty_and_closed(
        self, process: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 2)
        for delivery_id in ids_of(process.lease(message)):
            set_columns(database, delivery_id, status=DeliveryStatus.DELIVERED)
        let_leases_run_out(database)
        messages = MessageRepo(database)
        assert messages.mark_sent([message.id]) == [], "somebody may still be at it"

        lease = process.lease(message)
        assert [batch.recipients for batch in lease.batches] == [()]
        process.settle(lease)

        assert messages.mark_sent([message.id]) == [message.id]
        assert read_message(database, message.id).status is MessageStatus.SENT


class TestMoving:
    def test_members_that_wait_form_a_batch_of_their_own(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 3)
        lease = process.lease(message)
        staying, *moving = ids_of(lease)
        with database.transaction() as connection:
            formed = process.batches.move(connection, moving, lease.batches[0], wait=3 * A_MINUTE)

        origin, another = batches_of(database, message)
        assert (another.id, another.key) == (formed.id, formed.key)
        assert another.key != origin.key, "a request of its own has a key of its own"
        assert (another.queue_id, another.message_id, another.size) == (message.id, message.id, 2)
        assert (another.state, another.lease_token, another.lease_expires_at) == ("pending", None, None)
        assert 2 * A_MINUTE < another.not_before - database.now() <= 3 * A_MINUTE
        assert read_delivery(database, staying).batch_id == origin.id
        assert {read_delivery(database, delivery_id).batch_id for delivery_id in moving} == {another.id}

    def test_a_batch_that_does_not_wait_is_free_at_once(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 2)
        lease = process.lease(message)
        with database.transaction() as connection:
            process.batches.move(connection, ids_of(lease)[1:], lease.batches[0])
        assert ids_of(other.lease(message)) == ids_of(lease)[1:]

    def test_a_batch_formed_under_a_lease_is_the_same_process_own_at_once(
        self, process: HandingOff, other: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 2)
        lease = process.lease(message)
        with database.transaction() as connection:
            formed = process.batches.move(
                connection, ids_of(lease)[1:], lease.batches[0], token=lease.token, duration=A_MINUTE
            )
        row = read_batch(database, formed.id)
        assert (row.state, row.lease_token) == ("leased", lease.token)
        assert row.lease_expires_at - database.now() > A_MINUTE / 2
        assert other.lease(message).batches == ()

    def test_who_is_settled_or_in_another_batch_stays_there(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 2, 1)
        lease = process.lease(message)
        settled, waiting, elsewhere = ids_of(lease)
        set_columns(database, settled, status=DeliveryStatus.DELIVERED)
        with database.transaction() as connection:
            formed = process.batches.move(connection, [settled, waiting, elsewhere], lease.batches[0])
        now_in = [read_delivery(database, delivery_id).batch_id for delivery_id in (settled, waiting, elsewhere)]
        assert now_in == [lease.batches[0].id, formed.id, lease.batches[1].id]

    def test_what_was_marked_and_certainly_never_left_is_pending_again_in_its_new_batch(
        self, process: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 2)
        lease = process.lease(message)
        process.mark(lease)
        process.settle(lease)
        with database.transaction() as connection:
            process.batches.move(connection, ids_of(lease), lease.batches[0])
        assert statuses(database, ids_of(lease)) == ["pending", "pending"]
        assert ids_of(process.lease(message)) == ids_of(lease)


class TestUnsettled:
    def test_it_counts_what_is_left_and_for_how_long_nothing_can_move(
        self, process: HandingOff, database: Database
    ) -> None:
        message, done = a_message(database, 1, 2, 4), a_message(database, 1)
        waiting, leased, free = (batch.id for batch in batches_of(database, message))
        set_batch(database, waiting, not_before=database.now() + 10 * A_MINUTE)
        process.settle(process.lease(done))
        process.lease(message, limit=1)
        assert read_batch(database, leased).state == "leased"

        [left] = process.batches.unsettled([message.id, done.id])
        assert (left.queue_id, left.pending, left.sending, left.wake_in) == (message.id, 7, 0, timedelta())

        set_batch(database, free, state=BatchState.DONE)
        [left] = process.batches.unsettled([message.id])
        assert A_MINUTE / 2 < left.wake_in <= A_MINUTE, "until the lease of another process runs out"

        set_batch(database, leased, state=BatchState.DONE)
        [left] = process.batches.unsettled([message.id])
        assert (left.pending, left.sending) == (1, 0)
        assert 9 * A_MINUTE < left.wake_in <= 10 * A_MINUTE

    def test_what_is_under_way_is_counted_apart(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 3, 2)
        process.mark(process.lease(message, limit=1))
        [left] = process.batches.unsettled([message.id])
        assert (left.pending, left.sending) == (2, 3)


def test_closing_waits_for_who_writes_the_batch_at_present_and_then_holds_nothing(
    process: HandingOff, database: Database
) -> None:
    message = a_message(database)
    lease = process.lease(message)
    process.mark(lease)
    with ThreadPoolExecutor(1) as pool, database.transaction() as elsewhere:
        elsewhere.execute(
            text("UPDATE delivery_batches SET lease_token = gen_random_uuid() WHERE id = :id"),
            {"id": lease.batches[0].id},
        )
        closing = pool.submit(process.settle, lease)
        wait_until_blocked(database)
        elsewhere.commit()
        assert closing.result() == frozenset()
    assert read_batch(database, lease.batches[0].id).state == "sending"
