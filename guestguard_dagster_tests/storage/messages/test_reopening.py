"""Retries: what failed and may succeed is opened in batches, and what was tried before stays known."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

from guestguard_dagster.domain.deliveries import (
    DeliveryReport,
    DeliveryStatus,
    RetryFilter,
)
from guestguard_dagster.domain.messages import Message, MessageStatus
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries import recording
from guestguard_dagster.storage.deliveries.interrupted import InterruptedRepo
from guestguard_dagster.storage.deliveries.recording import Settlement
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message, set_columns
from guestguard_dagster_tests.storage.handing_off import (
    A_MINUTE,
    HandingOff,
    a_message,
    batches_of,
    earlier_attempts,
    ids_of,
    read_delivery,
    statuses,
)

SENT = Outcome(OutcomeClass.SENT, "provider-id")
REFUSED = Outcome(OutcomeClass.PERMANENT, error_class="NoSuchMailbox", error_code="550")


class TestReopening:
    def ended(self, database: Database, count: int, **columns: Any) -> tuple[Message, list[int]]:
        """A message that has ended, with so many deliveries that failed and may be tried again."""
        event, now = make_event(database), database.now()
        message = make_message(
            database, event, status=MessageStatus.SENT, audience_frozen_at=now, preflighted_at=now, finished_at=now
        )
        values: dict[str, Any] = {"status": DeliveryStatus.FAILED, "retryable": True} | columns
        return message, make_deliveries(database, message, make_guests(database, event, count), **values)

    def test_all_of_them_are_opened_in_batches_of_a_bounded_size(self, process: HandingOff, database: Database) -> None:
        message, ids = self.ended(database, 7)
        with database.transaction() as connection:
            assert recording.reopen(connection, message.id, RetryFilter(), batch_size=3) == 7
        sizes = [batch.size for batch in batches_of(database, message)]
        assert sizes == [3, 3, 1]
        leased = process.lease(message)
        assert [len(batch.recipients) for batch in leased.batches] == sizes
        assert sorted(ids_of(leased)) == ids
        assert {recipient.round for batch in leased.batches for recipient in batch.recipients} == {2}

    def test_a_retry_of_many_leaves_nobody_out(self, database: Database) -> None:
        message, ids = self.ended(database, 101)
        assert MessageRepo(database).retry_failed(message.id) == len(ids)
        assert Counter(statuses(database, ids)) == {"pending": len(ids)}
        assert sorted(batch.size for batch in batches_of(database, message)) == [1, 50, 50]

    def test_nothing_to_open_forms_no_batch(self, database: Database) -> None:
        message, _ = self.ended(database, 2, retryable=False)
        with database.transaction() as connection:
            assert recording.reopen(connection, message.id, RetryFilter(), batch_size=3) == 0
        assert batches_of(database, message) == []

    def test_the_earlier_attempt_is_kept_as_a_row_of_its_own(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 2)
        lease = process.lease(message)
        process.mark(lease)
        first, second = ids_of(lease)
        process.settle(
            lease,
            Settlement(first, 1, DeliveryStatus.FAILED, REFUSED, "refused", retryable=True),
            Settlement(second, 1, DeliveryStatus.SENT, SENT),
        )
        before = read_delivery(database, first)
        with database.transaction() as connection:
            assert recording.reopen(connection, message.id, RetryFilter(), batch_size=3) == 1

        [attempt] = earlier_attempts(database, first)
        assert (attempt.round, attempt.run_id, attempt.outcome) == (1, "run", "permanent")
        assert (attempt.provider, attempt.account) == (before.provider, before.account)
        assert (attempt.error_class, attempt.error_code) == ("NoSuchMailbox", "550")
        assert attempt.attempted_at == before.attempted_at
        assert earlier_attempts(database, second) == [], "only of those that are opened"
        row = read_delivery(database, first)
        assert (row.status, row.round, row.outcome, row.attempted_at) == ("pending", 2, None, None)
        assert row.batch_id != before.batch_id

    def test_every_round_of_a_delivery_is_an_attempt_counted_once(
        self, process: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 1)
        for round_ in range(1, 4):
            lease = process.lease(message)
            process.mark(lease)
            [delivery_id] = ids_of(lease)
            process.settle(
                lease, Settlement(delivery_id, round_, DeliveryStatus.FAILED, REFUSED, "refused", retryable=True)
            )
            with database.transaction() as connection:
                recording.reopen(connection, message.id, RetryFilter(), batch_size=3)
        attempts = earlier_attempts(database, delivery_id)
        assert [attempt.round for attempt in attempts] == [1, 2, 3]
        assert all(one.attempted_at < next_.attempted_at for one, next_ in pairwise(attempts))

    def test_a_delivery_that_was_interrupted_is_opened_with_its_unknown_attempt(
        self, process: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 1)
        lease = process.lease(message)
        process.mark(lease)
        let_leases_run_out(database)
        assert InterruptedRepo(database).end([message.id], accounts=[], within=A_MINUTE) == 1
        [delivery_id] = ids_of(lease)
        set_columns(database, delivery_id, settled_at=database.now() - timedelta(hours=2))
        with database.transaction() as connection:
            opened = recording.reopen(connection, message.id, RetryFilter(unknown_too=True), batch_size=3)
        assert opened == 1
        [attempt] = earlier_attempts(database, delivery_id)
        assert (attempt.outcome, attempt.provider, attempt.run_id) == ("unknown", "resend", "run")

    def test_proof_that_arrives_in_the_next_round_settles_it(self, process: HandingOff, database: Database) -> None:
        message, [delivery_id] = self.ended(database, 1)
        with database.transaction() as connection:
            recording.reopen(connection, message.id, RetryFilter(), batch_size=3)
            recording.record(connection, delivery_id, DeliveryReport(DeliveryStatus.DELIVERED))
        assert ids_of(process.lease(message)) == ()
