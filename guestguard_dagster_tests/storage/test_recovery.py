"""What becomes of hand-offs whose process died: repeated where that is safe, unknown everywhere else."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import UUID, uuid4

import pytest
from guestguard_dagster.storage.recovery import RecoveryRepo, RepeatableBatch
from sqlalchemy import insert, text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import Message, MessageStatus
from guestguard_dagster.domain.outcomes import OutcomeClass
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.schema import delivery_attempts
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message, set_columns
from guestguard_dagster_tests.storage.handing_off import (
    A_MINUTE,
    ACCOUNT,
    HandingOff,
    ids_of,
    read_delivery,
    statuses,
)

WITHIN = timedelta(hours=23)


@pytest.fixture
def recovery(database: Database) -> RecoveryRepo:
    return RecoveryRepo(database)


def a_message(database: Database, recipients: int = 2) -> Message:
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENDING)
    make_deliveries(database, message, make_guests(database, event, recipients))
    return message


def interrupted(
    database: Database, *messages: Message, in_batch: bool = True, account: str = ACCOUNT
) -> tuple[int, ...]:
    """A process marked these rows and died, and their lease ran out; returns the rows."""
    process = HandingOff(database, account)
    lease = process.lease(*messages)
    process.mark(lease, in_batch=in_batch)
    for delivery_id in ids_of(lease):
        set_columns(database, delivery_id, lease_expires_at=database.now())
    return ids_of(lease)


def lease_batch(recovery: RecoveryRepo, *messages: Message, account: str = ACCOUNT) -> RepeatableBatch | None:
    return recovery.lease_repeatable_batch(
        [message.id for message in messages], account=account, within=WITHIN, duration=A_MINUTE
    )


def settle(recovery: RecoveryRepo, *messages: Message, account: str | None = ACCOUNT) -> int:
    return recovery.settle_interrupted([message.id for message in messages], repeatable_account=account, within=WITHIN)


def let_batches_grow_old(database: Database, age: timedelta) -> None:
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE guestguard.provider_batches SET first_called_at = clock_timestamp() - :age"), {"age": age}
        )


class TestRepeating:
    def test_a_batch_whose_answer_never_came_is_leased_as_it_was(
        self, recovery: RecoveryRepo, database: Database
    ) -> None:
        message = a_message(database)
        rows = interrupted(database, message)

        found = lease_batch(recovery, message)

        assert found is not None
        assert (found.batch.members, found.batch.body, found.batch.endpoint) == (
            rows,
            b"compressed request",
            "/emails/batch",
        )
        assert found.batch.id == read_delivery(database, rows[0]).batch_id
        assert tuple(facts.delivery_id for facts in found.open_members) == rows
        assert {read_delivery(database, row).lease_token for row in rows} == {found.token}
        assert lease_batch(recovery, message) is None, "it is leased now"
        assert settle(recovery, message) == 0

    def test_its_rows_of_other_messages_are_leased_with_it(self, recovery: RecoveryRepo, database: Database) -> None:
        first, second = a_message(database), a_message(database)
        rows = interrupted(database, first, second)
        found = lease_batch(recovery, first)
        assert found is not None
        assert sorted(facts.delivery_id for facts in found.open_members) == sorted(rows)

    def test_rows_that_a_callback_settled_meanwhile_are_left_out(
        self, recovery: RecoveryRepo, database: Database
    ) -> None:
        message = a_message(database)
        settled, waiting = interrupted(database, message)
        set_columns(database, settled, status=DeliveryStatus.DELIVERED)
        found = lease_batch(recovery, message)
        assert found is not None
        assert [facts.delivery_id for facts in found.open_members] == [waiting]
        assert found.batch.members == (settled, waiting), "the request itself stays the same"

    def test_a_batch_of_a_live_process_is_left_to_it(self, recovery: RecoveryRepo, database: Database) -> None:
        message = a_message(database)
        process = HandingOff(database)
        process.mark(process.lease(message), in_batch=True)
        assert lease_batch(recovery, message) is None
        assert settle(recovery, message) == 0

    def test_one_of_many_processes_repeats_it(self, recovery: RecoveryRepo, database: Database) -> None:
        message = a_message(database)
        interrupted(database, message)
        start = Barrier(4)

        def try_to_lease(_: int) -> bool:
            start.wait()
            return lease_batch(recovery, message) is not None

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(try_to_lease, range(4))) == 1

    def test_the_oldest_batch_comes_first(self, recovery: RecoveryRepo, database: Database) -> None:
        young, old = a_message(database), a_message(database)
        interrupted(database, old)
        let_batches_grow_old(database, timedelta(hours=2))
        interrupted(database, young)
        first, second = lease_batch(recovery, young, old), lease_batch(recovery, young, old)
        assert first is not None
        assert second is not None
        assert first.open_members[0].source_id == old.id
        assert second.open_members[0].source_id == young.id


class TestWhatCannotBeRepeated:
    def test_without_a_fixed_request_the_rows_are_unknown(self, recovery: RecoveryRepo, database: Database) -> None:
        message = a_message(database)
        rows = interrupted(database, message, in_batch=False)
        assert lease_batch(recovery, message) is None
        assert settle(recovery, message) == 2
        for row in rows:
            settled = read_delivery(database, row)
            assert (settled.status, settled.reason) == ("unknown", "hand_off_interrupted")
            assert (settled.lease_token, settled.lease_expires_at) == (None, None)
            assert settled.settled_at is not None

    def test_rows_of_a_live_process_are_left_to_it(self, recovery: RecoveryRepo, database: Database) -> None:
        message = a_message(database)
        process = HandingOff(database)
        lease = process.lease(message)
        process.mark(lease)
        assert settle(recovery, message, account=None) == 0
        assert statuses(database, ids_of(lease)) == ["sending", "sending"]

    def test_a_request_of_yesterday_is_unknown(self, recovery: RecoveryRepo, database: Database) -> None:
        message = a_message(database)
        rows = interrupted(database, message)
        let_batches_grow_old(database, WITHIN - A_MINUTE)
        assert settle(recovery, message) == 0

        let_batches_grow_old(database, WITHIN + A_MINUTE)
        assert lease_batch(recovery, message) is None
        assert settle(recovery, message) == 2
        assert statuses(database, rows) == ["unknown", "unknown"]

    @pytest.mark.parametrize("account", ["resend:another", None], ids=["account changed", "no repeatable account"])
    def test_a_request_on_another_account_is_unknown(
        self, recovery: RecoveryRepo, database: Database, account: str | None
    ) -> None:
        message = a_message(database)
        rows = interrupted(database, message)
        if account is not None:
            assert lease_batch(recovery, message, account=account) is None
        assert settle(recovery, message, account=account) == 2
        assert statuses(database, rows) == ["unknown", "unknown"]

    def test_a_request_whose_bytes_are_gone_is_unknown(self, recovery: RecoveryRepo, database: Database) -> None:
        message = a_message(database)
        interrupted(database, message)
        with database.transaction() as connection:
            connection.execute(text("UPDATE guestguard.provider_batches SET body = NULL"))
        assert lease_batch(recovery, message) is None
        assert settle(recovery, message) == 2

    def test_only_rows_marked_as_leaving_are_settled(self, recovery: RecoveryRepo, database: Database) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        rows = [
            make_deliveries(database, message, make_guests(database, event), status=status)[0]
            for status in DeliveryStatus
            if status is not DeliveryStatus.SENDING
        ]
        before = statuses(database, rows)
        assert settle(recovery, message) == 0
        assert statuses(database, rows) == before

    def test_other_messages_are_left_alone(self, recovery: RecoveryRepo, database: Database) -> None:
        mine, other = a_message(database), a_message(database)
        rows = interrupted(database, other, in_batch=False)
        assert settle(recovery, mine) == 0
        assert statuses(database, rows) == ["sending", "sending"]


class TestReconciling:
    def attempt(self, database: Database, delivery_id: int, outcome: OutcomeClass, token: UUID | None = None) -> None:
        with database.transaction() as connection:
            connection.execute(
                insert(delivery_attempts).values(
                    delivery_id=delivery_id,
                    lease_token=token or uuid4(),
                    round=1,
                    provider="smtp",
                    account="smtp:elsewhere",
                    outcome=outcome,
                    provider_message_id=f"{outcome}-id",
                )
            )

    def test_recorded_proof_counts_for_a_row_that_missed_it(self, recovery: RecoveryRepo, database: Database) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        for status in DeliveryStatus:
            [delivery_id] = make_deliveries(database, message, make_guests(database, event), status=status)
            self.attempt(database, delivery_id, OutcomeClass.TRANSIENT)
            self.attempt(database, delivery_id, OutcomeClass.SENT)
            self.attempt(database, delivery_id, OutcomeClass.PERMANENT)

            moved = recovery.reconcile([message.id])

            row = read_delivery(database, delivery_id)
            if status in {
                DeliveryStatus.PENDING,
                DeliveryStatus.SENDING,
                DeliveryStatus.UNKNOWN,
                DeliveryStatus.FAILED,
            }:
                assert (moved, row.status, row.provider_message_id) == (1, "sent", "sent-id")
                assert (row.provider, row.account) == ("smtp", "smtp:elsewhere")
                assert row.lease_token is None
            else:
                assert (moved, row.status) == (0, status)

    def test_what_proves_nothing_moves_nothing(self, recovery: RecoveryRepo, database: Database) -> None:
        message = a_message(database, 1)
        [row] = interrupted(database, message, in_batch=False)
        for outcome in set(OutcomeClass) - {OutcomeClass.SENT}:
            self.attempt(database, row, outcome)
        assert recovery.reconcile([message.id]) == 0
        assert statuses(database, [row]) == ["sending"]
