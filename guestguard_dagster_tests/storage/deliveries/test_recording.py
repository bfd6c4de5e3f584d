"""What becomes of deliveries: settled by whoever holds their batch, or by proof, and never moved backwards."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from uuid import uuid4

import pytest
from sqlalchemy import text

from guestguard_dagster.domain.deliveries import (
    BatchState,
    DeliveryStatus,
)
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries import recording
from guestguard_dagster.storage.deliveries.recording import Refusal, Settlement
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message, set_columns
from guestguard_dagster_tests.storage.blocking import wait_until_blocked
from guestguard_dagster_tests.storage.handing_off import (
    A_MINUTE,
    HandingOff,
    a_message,
    batches_of,
    earlier_attempts,
    ids_of,
    outcomes,
    read_batch,
    read_delivery,
    statuses,
)

A_SECOND = timedelta(seconds=1)

SENT = Outcome(OutcomeClass.SENT, "provider-id", duration_ms=40)
NOT_NOW = Outcome(OutcomeClass.TRANSIENT, error_class="Busy", error_code="450", detail="later", duration_ms=50)
REFUSED = Outcome(OutcomeClass.PERMANENT, error_class="NoSuchMailbox", error_code="550")
UNAVAILABLE = Outcome(OutcomeClass.UNAVAILABLE, error_class="NoSession")

# What proof of a hand-off, and a refusal, make of a delivery that its process has lost; every other status stays.
LATE_NEWS = {
    DeliveryStatus.PENDING: (DeliveryStatus.SENT, DeliveryStatus.PENDING),
    DeliveryStatus.SENDING: (DeliveryStatus.SENT, DeliveryStatus.SENDING),
    DeliveryStatus.UNKNOWN: (DeliveryStatus.SENT, DeliveryStatus.FAILED),
    DeliveryStatus.FAILED: (DeliveryStatus.SENT, DeliveryStatus.FAILED),
}


def settlement(delivery_id: int, status: DeliveryStatus, outcome: Outcome | None = None, round_: int = 1) -> Settlement:
    return Settlement(delivery_id, round_, status, outcome, counts=outcome is NOT_NOW)


class TestRefusing:
    def test_who_is_not_to_leave_is_settled_without_an_attempt(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 2))
        first, second = ids_of(lease)
        with database.transaction() as connection:
            recording.refuse(connection, [Refusal(first, DeliveryStatus.SKIPPED, "not_in_audience")])
        refused = read_delivery(database, first)
        assert (refused.status, refused.reason, refused.retryable) == ("skipped", "not_in_audience", False)
        assert refused.settled_at is not None
        assert outcomes(database, first) == []
        assert read_delivery(database, second).status == "pending"

    def test_each_is_refused_for_its_own_reason(self, process: HandingOff, database: Database) -> None:
        first, second, third = ids_of(process.lease(a_message(database, 3)))
        with database.transaction() as connection:
            recording.refuse(
                connection,
                [
                    Refusal(first, DeliveryStatus.SUPPRESSED, "unsubscribe"),
                    Refusal(second, DeliveryStatus.FAILED, "template refused"),
                ],
            )
        rows = [read_delivery(database, delivery_id) for delivery_id in (first, second, third)]
        assert [(row.status, row.reason) for row in rows] == [
            ("suppressed", "unsubscribe"),
            ("failed", "template refused"),
            ("pending", None),
        ]

    @pytest.mark.parametrize("status", sorted(set(DeliveryStatus) - {DeliveryStatus.PENDING, DeliveryStatus.SENDING}))
    def test_what_is_settled_is_not_refused_any_more(self, database: Database, status: DeliveryStatus) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        [delivery_id] = make_deliveries(database, message, make_guests(database, event), status=status, reason="before")
        with database.transaction() as connection:
            recording.refuse(connection, [Refusal(delivery_id, DeliveryStatus.SKIPPED, "not_in_audience")])
        row = read_delivery(database, delivery_id)
        assert (row.status, row.reason) == (status, "before")

    def test_nobody_to_refuse_is_no_statement(self, database: Database) -> None:
        with database.transaction() as connection:
            recording.refuse(connection, [])


class TestSettling:
    def test_an_outcome_settles_its_delivery_and_is_its_newest_attempt(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 1))
        [delivery_id] = ids_of(lease)
        process.mark(lease)
        answered_at = database.now()

        process.settle(lease, settlement(delivery_id, DeliveryStatus.SENT, SENT), ago=A_MINUTE)

        row = read_delivery(database, delivery_id)
        assert (row.status, row.provider_message_id) == ("sent", "provider-id")
        assert row.settled_at >= answered_at
        assert abs(answered_at - row.handed_off_at - A_MINUTE) < A_MINUTE / 2
        assert (row.outcome, row.provider, row.account) == ("sent", "resend", process.account)
        assert row.duration_ms == 40
        assert abs(row.attempted_at - row.handed_off_at) < A_SECOND
        assert read_batch(database, row.batch_id).run_id == "run"
        assert earlier_attempts(database, delivery_id) == []

    def test_a_refusal_says_what_the_provider_said(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 1))
        [delivery_id] = ids_of(lease)
        process.mark(lease)
        process.settle(lease, Settlement(delivery_id, 1, DeliveryStatus.FAILED, REFUSED, "refused", retryable=True))
        row = read_delivery(database, delivery_id)
        assert (row.status, row.reason, row.retryable, row.outcome) == ("failed", "refused", True, "permanent")
        assert (row.error_class, row.error_code, row.handed_off_at) == ("NoSuchMailbox", "550", None)

    def test_one_answered_not_now_stays_open_and_its_attempt_has_a_row(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 1))
        [delivery_id] = ids_of(lease)
        process.mark(lease)
        answered_at = database.now()
        process.settle(
            lease, Settlement(delivery_id, 1, DeliveryStatus.PENDING, NOT_NOW, "retry", counts=True), ago=A_MINUTE
        )
        row = read_delivery(database, delivery_id)
        assert (row.status, row.reason, row.attempts, row.settled_at) == ("pending", "retry", 1, None)
        assert (row.error_class, row.error_code, row.error_detail) == ("Busy", "450", "later")
        assert (row.attempted_at, row.outcome) == (None, None)
        assert abs(answered_at - row.first_attempt_at - A_MINUTE) < A_MINUTE / 2
        [attempt] = earlier_attempts(database, delivery_id)
        assert (attempt.outcome, attempt.run_id, attempt.round) == ("transient", "run", 1)
        assert (attempt.provider, attempt.account) == ("resend", process.account)
        assert (attempt.error_class, attempt.error_code, attempt.error_detail) == ("Busy", "450", "later")
        assert attempt.duration_ms == 50
        assert abs(attempt.attempted_at - row.first_attempt_at) < A_SECOND

    def test_the_first_of_several_tries_is_remembered(self, process: HandingOff, database: Database) -> None:
        message = a_message(database, 1)
        first_tries = set()
        for number in range(1, 3):
            lease = process.lease(message)
            [delivery_id] = ids_of(lease)
            process.mark(lease)
            process.settle(lease, settlement(delivery_id, DeliveryStatus.PENDING, NOT_NOW))
            with database.transaction() as connection:
                process.batches.move(connection, [delivery_id], lease.batches[0])
            row = read_delivery(database, delivery_id)
            first_tries.add(row.first_attempt_at)
            assert row.attempts == number
        assert len(first_tries) == 1
        assert outcomes(database, delivery_id) == ["transient", "transient"]

    def test_a_provider_wide_answer_that_may_be_about_the_recipient_is_counted(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 1))
        [delivery_id] = ids_of(lease)
        process.mark(lease)
        wide = Outcome(OutcomeClass.PROVIDER_WIDE, error_class="Quota", may_be_recipient=True)
        process.settle(lease, Settlement(delivery_id, 1, DeliveryStatus.PENDING, wide, blames_recipient=True))
        row = read_delivery(database, delivery_id)
        assert (row.provider_refusals, row.attempts) == (1, 0)
        assert outcomes(database, delivery_id) == ["provider_wide"]

    @pytest.mark.parametrize("outcome", [None, UNAVAILABLE], ids=["never left", "no session"])
    def test_what_nobody_answered_for_leaves_no_attempt(
        self, process: HandingOff, database: Database, outcome: Outcome | None
    ) -> None:
        lease = process.lease(a_message(database, 1))
        process.mark(lease)
        process.settle(lease, settlement(ids_of(lease)[0], DeliveryStatus.PENDING, outcome))
        assert statuses(database, ids_of(lease)) == ["pending"]
        assert outcomes(database, ids_of(lease)[0]) == []

    def test_settling_is_repeated_when_its_answer_was_lost(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 2))
        first, second = ids_of(lease)
        process.mark(lease)
        for _ in range(2):
            process.settle(
                lease,
                settlement(first, DeliveryStatus.SENT, SENT),
                settlement(second, DeliveryStatus.PENDING, NOT_NOW),
            )
        assert statuses(database, [first, second]) == ["sent", "pending"]
        assert read_delivery(database, second).attempts == 1
        assert outcomes(database, first) == ["sent"]
        assert outcomes(database, second) == ["transient"]

    def test_late_news_about_a_delivery_that_is_no_longer_ours_only_proves(
        self, process: HandingOff, database: Database
    ) -> None:
        other = HandingOff(database)
        for status in DeliveryStatus:
            message = a_message(database, 3)
            lease = process.lease(message)
            process.mark(lease)
            proven, refused, not_now = ids_of(lease)
            with database.transaction() as connection:  # another process has taken them over
                state = BatchState.SENDING if status is DeliveryStatus.SENDING else BatchState.PENDING
                connection.execute(
                    text("UPDATE delivery_batches SET lease_token = :token, state = :state WHERE id = :id"),
                    {"token": uuid4(), "state": state, "id": lease.batches[0].id},
                )
            if status is not DeliveryStatus.SENDING:
                for delivery_id in ids_of(lease):
                    set_columns(database, delivery_id, status=status)

            process.settle(
                lease,
                settlement(proven, DeliveryStatus.SENT, SENT),
                settlement(refused, DeliveryStatus.FAILED, REFUSED),
                settlement(not_now, DeliveryStatus.PENDING, NOT_NOW),
            )

            by_sent, by_refused = LATE_NEWS.get(status, (status, status))
            assert statuses(database, ids_of(lease)) == [by_sent, by_refused, status]
            for delivery_id, before_and_after, outcome in (
                (proven, (status, by_sent), "sent"),
                (refused, (status, by_refused), "permanent"),
            ):
                moved = before_and_after[0] is not before_and_after[1] or (outcome, status) == ("permanent", "unknown")
                assert outcomes(database, delivery_id) == ([outcome] if moved else []), "what moves it is its attempt"
            assert read_delivery(database, not_now).attempts == 0
        assert other.lease(message).batches == ()

    def test_late_proof_settles_a_delivery_that_another_process_has_leased_and_it_is_not_sent_again(
        self, process: HandingOff, database: Database
    ) -> None:
        message = a_message(database, 2)
        lease = process.lease(message)
        proven, still_open = ids_of(lease)
        let_leases_run_out(database)
        other = HandingOff(database)
        taken_over = other.lease(message)
        assert ids_of(taken_over) == (proven, still_open)
        process.settle(lease, settlement(proven, DeliveryStatus.SENT, SENT))
        let_leases_run_out(database)
        assert ids_of(other.lease(message)) == (still_open,)

    def test_a_late_refusal_of_an_earlier_round_does_not_fail_the_present_one(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 1))
        [delivery_id] = ids_of(lease)
        process.mark(lease)
        set_columns(database, delivery_id, status=DeliveryStatus.UNKNOWN, round=2)
        process.settle(lease, settlement(delivery_id, DeliveryStatus.FAILED, REFUSED, round_=1))
        assert statuses(database, [delivery_id]) == ["unknown"]

    def test_a_delivery_moves_only_as_the_states_allow(self, process: HandingOff, database: Database) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        answers = {
            DeliveryStatus.PENDING: NOT_NOW,
            DeliveryStatus.SENDING: Outcome(OutcomeClass.UNKNOWN),
            DeliveryStatus.SENT: SENT,
            DeliveryStatus.FAILED: REFUSED,
            DeliveryStatus.SKIPPED: Outcome(OutcomeClass.DRY_RUN),
            DeliveryStatus.UNKNOWN: Outcome(OutcomeClass.UNKNOWN),
        }
        for before, target, is_held in product(DeliveryStatus, answers, (True, False)):
            [delivery_id] = make_deliveries(database, message, make_guests(database, event), status=before)
            batch_id = read_delivery(database, delivery_id).batch_id
            with database.transaction() as connection:
                recording.settle(
                    connection,
                    [settlement(delivery_id, target, answers[target])],
                    held=[batch_id] if is_held and batch_id else [],
                    provider="resend",
                    account=process.account,
                    run_id="run",
                    ago=timedelta(),
                )
            after = DeliveryStatus(read_delivery(database, delivery_id).live)
            # a held batch was marked: whatever becomes of its members, they were `sending`
            was = DeliveryStatus.SENDING if is_held and before is DeliveryStatus.PENDING else before
            assert after in {before, was} or was.can_become(after), f"{before} became {after}"

    def test_proof_for_a_delivery_that_was_deleted_costs_the_others_nothing(
        self, process: HandingOff, database: Database
    ) -> None:
        lease = process.lease(a_message(database, 3))
        process.mark(lease)
        deleted, deleted_too, kept = ids_of(lease)
        with database.transaction() as connection:
            connection.execute(
                text("DELETE FROM message_deliveries WHERE id = ANY(:ids)"), {"ids": [deleted, deleted_too]}
            )
        process.settle(
            lease,
            settlement(deleted, DeliveryStatus.SENT, SENT),
            settlement(deleted_too, DeliveryStatus.PENDING, NOT_NOW),
            settlement(kept, DeliveryStatus.SENT, SENT),
        )
        assert statuses(database, [kept]) == ["sent"]
        assert outcomes(database, kept) == ["sent"]

    def test_answers_that_differ_are_each_written_as_they_were(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 3))
        process.mark(lease)
        first, second, third = ids_of(lease)
        process.settle(
            lease,
            settlement(first, DeliveryStatus.SENT, SENT),
            settlement(second, DeliveryStatus.SENT, Outcome(OutcomeClass.SENT, "another-id", duration_ms=7)),
            settlement(third, DeliveryStatus.FAILED, REFUSED),
        )
        rows = [read_delivery(database, delivery_id) for delivery_id in (first, second, third)]
        assert [(row.provider_message_id, row.duration_ms) for row in rows] == [
            ("provider-id", 40),
            ("another-id", 7),
            (None, REFUSED.duration_ms),
        ]
        assert [row.status for row in rows] == ["sent", "sent", "failed"]

    def test_it_waits_for_who_writes_the_delivery_at_present(self, process: HandingOff, database: Database) -> None:
        lease = process.lease(a_message(database, 1))
        [delivery_id] = ids_of(lease)
        process.mark(lease)
        with ThreadPoolExecutor(1) as pool, database.transaction() as callback:
            callback.execute(
                text("UPDATE message_deliveries SET status = 'bounced' WHERE id = :id"), {"id": delivery_id}
            )
            settling = pool.submit(process.settle, lease, settlement(delivery_id, DeliveryStatus.SENT, SENT))
            wait_until_blocked(database)
            callback.commit()
            settling.result()
        assert statuses(database, [delivery_id]) == ["bounced"]


class TestLiveStatus:
    @pytest.mark.parametrize("state", BatchState)
    def test_sending_is_read_from_the_batch_of_what_is_open(self, database: Database, state: BatchState) -> None:
        message = a_message(database, 2)
        [batch] = batches_of(database, message)
        settled, still_open = ids_of(HandingOff(database).lease(message))
        set_columns(database, settled, status=DeliveryStatus.FAILED)
        with database.transaction() as connection:
            connection.execute(text("UPDATE delivery_batches SET state = :state"), {"state": state})
        assert batch.size == 2
        expected = "sending" if state is BatchState.SENDING else "pending"
        assert statuses(database, [settled, still_open]) == ["failed", expected]

    def test_a_delivery_without_a_batch_is_as_its_row_says(self, database: Database) -> None:
        message = a_message(database, 1)
        [delivery_id] = ids_of(HandingOff(database).lease(message))
        set_columns(database, delivery_id, batch_id=None)
        assert statuses(database, [delivery_id]) == ["pending"]
