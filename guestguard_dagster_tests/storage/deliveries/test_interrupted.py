"""What becomes of hand-offs whose process died: repeated where that is safe, unknown everywhere else."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import Message, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.batches import BatchRepo
from guestguard_dagster.storage.deliveries.interrupted import InterruptedRepo, RepeatableBatch
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out
from guestguard_dagster_tests.factories import (
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
    read_delivery,
    set_batch,
    statuses,
)

WITHIN = timedelta(hours=23)


@pytest.fixture
def repo(database: Database) -> InterruptedRepo:
    return InterruptedRepo(database)


def interrupted(database: Database, *messages: Message, fixed: bool = True, account: str = ACCOUNT) -> tuple[int, ...]:
    """A process marked the batches of these messages and died, and their lease ran out; returns the deliveries."""
    process = HandingOff(database, account)
    lease = process.lease(*messages)
    process.mark(lease, fixed=fixed)
    for batch in lease.batches:
        set_batch(database, batch.id, lease_expires_at=database.now())
    return ids_of(lease)


def lease_repeatable(repo: InterruptedRepo, *messages: Message, account: str = ACCOUNT) -> RepeatableBatch | None:
    return repo.lease_repeatable(
        [message.id for message in messages], account=account, within=WITHIN, duration=A_MINUTE
    )


def end_interrupted(repo: InterruptedRepo, *messages: Message, account: str | None = ACCOUNT) -> int:
    accounts = [] if account is None else [account]
    return repo.end([message.id for message in messages], accounts=accounts, within=WITHIN)


def let_batches_grow_old(database: Database, age: timedelta) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE delivery_batches SET handed_off_at = clock_timestamp() - :age"), {"age": age})


class TestRepeating:
    def test_a_batch_whose_answer_never_came_is_leased_as_it_was(
        self, repo: InterruptedRepo, database: Database
    ) -> None:
        message = a_message(database)
        members = interrupted(database, message)
        [left] = batches_of(database, message)

        found = lease_repeatable(repo, message)

        assert found is not None
        request = found.request
        assert (request.members, bytes(request.body), request.endpoint) == (members, BODY, "/emails/batch")
        assert (found.batch.id, found.batch.key) == (left.id, left.key)
        assert tuple(recipient.delivery_id for recipient in found.batch.recipients) == members
        assert read_batch(database, left.id).lease_token == found.token
        assert lease_repeatable(repo, message) is None, "it is leased now"
        assert end_interrupted(repo, message) == 0
        assert HandingOff(database).lease(message).batches == (), "it is not handed off anew"

    def test_members_that_a_callback_settled_meanwhile_are_left_out(
        self, repo: InterruptedRepo, database: Database
    ) -> None:
        message = a_message(database)
        settled, waiting = interrupted(database, message)
        set_columns(database, settled, status=DeliveryStatus.DELIVERED)
        found = lease_repeatable(repo, message)
        assert found is not None
        assert [recipient.delivery_id for recipient in found.batch.recipients] == [waiting]
        assert found.request.members == (settled, waiting), "the request itself stays the same"

    def test_a_batch_of_a_live_process_is_left_to_it(self, repo: InterruptedRepo, database: Database) -> None:
        message = a_message(database)
        process = HandingOff(database)
        process.mark(process.lease(message), fixed=True)
        assert lease_repeatable(repo, message) is None
        assert end_interrupted(repo, message) == 0

    def test_a_repeat_waits_for_its_time(self, repo: InterruptedRepo, process: HandingOff, database: Database) -> None:
        message = a_message(database)
        lease = process.lease(message)
        process.mark(lease, fixed=True)
        process.settle(lease, repeat_in=A_MINUTE)
        assert lease_repeatable(repo, message) is None
        let_leases_run_out(database)
        assert lease_repeatable(repo, message) is not None

    def test_one_of_many_processes_repeats_it(self, repo: InterruptedRepo, database: Database) -> None:
        message = a_message(database)
        interrupted(database, message)
        start = Barrier(4)

        def try_to_lease(_: int) -> bool:
            start.wait()
            return lease_repeatable(repo, message) is not None

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(try_to_lease, range(4))) == 1

    def test_the_oldest_batch_comes_first(self, repo: InterruptedRepo, database: Database) -> None:
        old, young = a_message(database), a_message(database)
        interrupted(database, old)
        interrupted(database, young)
        first, second = lease_repeatable(repo, young, old), lease_repeatable(repo, young, old)
        assert first is not None
        assert second is not None
        assert (first.batch.queue_id, second.batch.queue_id) == (old.id, young.id)

    def test_the_process_that_repeats_it_ends_it(self, repo: InterruptedRepo, database: Database) -> None:
        message = a_message(database)
        interrupted(database, message)
        found = lease_repeatable(repo, message)
        assert found is not None
        with database.transaction() as connection:
            assert BatchRepo(database).close(connection, found.token, [found.batch.id]) == {found.batch.id}
        assert read_batch(database, found.batch.id).state == "done"


class TestWhatCannotBeRepeated:
    def test_without_a_fixed_request_the_deliveries_are_unknown(
        self, repo: InterruptedRepo, database: Database
    ) -> None:
        message = a_message(database)
        members = interrupted(database, message, fixed=False)
        assert lease_repeatable(repo, message) is None
        assert end_interrupted(repo, message) == 2
        [batch] = batches_of(database, message)
        assert (batch.state, batch.lease_token, batch.lease_expires_at) == ("done", None, None)
        for delivery_id in members:
            settled = read_delivery(database, delivery_id)
            assert (settled.status, settled.reason) == ("unknown", "hand_off_interrupted")
            assert (settled.provider, settled.account) == ("resend", ACCOUNT)
            assert (settled.outcome, settled.attempted_at) == ("unknown", batch.handed_off_at)
            assert settled.settled_at is not None
        assert end_interrupted(repo, message) == 0
        assert HandingOff(database).lease(message).batches == (), "they are never sent again by themselves"

    def test_batches_of_a_live_process_are_left_to_it(self, repo: InterruptedRepo, database: Database) -> None:
        message = a_message(database)
        process = HandingOff(database)
        lease = process.lease(message)
        process.mark(lease)
        assert end_interrupted(repo, message, account=None) == 0
        assert statuses(database, ids_of(lease)) == ["sending", "sending"]

    def test_a_request_of_yesterday_is_unknown(self, repo: InterruptedRepo, database: Database) -> None:
        message = a_message(database)
        members = interrupted(database, message)
        let_batches_grow_old(database, WITHIN - A_MINUTE)
        assert end_interrupted(repo, message) == 0

        let_batches_grow_old(database, WITHIN + A_MINUTE)
        assert lease_repeatable(repo, message) is None
        assert end_interrupted(repo, message) == 2
        assert statuses(database, members) == ["unknown", "unknown"]

    @pytest.mark.parametrize("account", ["resend:another", None], ids=["account changed", "no repeatable account"])
    def test_a_request_on_another_account_is_unknown(
        self, repo: InterruptedRepo, database: Database, account: str | None
    ) -> None:
        message = a_message(database)
        members = interrupted(database, message)
        if account is not None:
            assert lease_repeatable(repo, message, account=account) is None
        assert end_interrupted(repo, message, account=account) == 2
        assert statuses(database, members) == ["unknown", "unknown"]

    def test_a_request_whose_bytes_are_gone_is_unknown(self, repo: InterruptedRepo, database: Database) -> None:
        message = a_message(database)
        interrupted(database, message)
        set_batch(database, batches_of(database, message)[0].id, body=None)
        assert lease_repeatable(repo, message) is None
        assert end_interrupted(repo, message) == 2

    def test_only_batches_marked_as_leaving_are_ended(self, repo: InterruptedRepo, database: Database) -> None:
        event = make_event(database)
        message = make_message(database, event, status=MessageStatus.SENDING)
        before = {}
        for status in set(DeliveryStatus) - {DeliveryStatus.SENDING}:
            [delivery_id] = make_deliveries(database, message, make_guests(database, event), status=status)
            before[delivery_id] = status
        assert end_interrupted(repo, message) == 0
        assert statuses(database, list(before)) == list(before.values())

    def test_members_that_are_settled_stay_as_they_are(self, repo: InterruptedRepo, database: Database) -> None:
        message = a_message(database)
        settled, waiting = interrupted(database, message, fixed=False)
        set_columns(database, settled, status=DeliveryStatus.DELIVERED)
        assert end_interrupted(repo, message) == 1
        assert statuses(database, [settled, waiting]) == ["delivered", "unknown"]

    def test_other_messages_are_left_alone(self, repo: InterruptedRepo, database: Database) -> None:
        mine, other = a_message(database), a_message(database)
        members = interrupted(database, other, fixed=False)
        assert end_interrupted(repo, mine) == 0
        assert statuses(database, members) == ["sending", "sending"]
