"""What happens at the same instant: exactly one of two contrary things, and never a deadlock."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import (
    CancelReason,
    Message,
    MessageAudience,
    MessageChanges,
    MessageChannel,
    MessageDraft,
    MessageStatus,
)
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import EventCancelled, MessageNotEditable
from guestguard_dagster.storage.locks import lock_message
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.writing import edit_message
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster_tests.factories import (
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    read_message,
    set_columns,
)
from guestguard_dagster_tests.storage.racing import race, wait_until_blocked

CLAIMERS = 20
ROUNDS = 15
A_DAY = timedelta(days=1)


@pytest.fixture
def wide(database_url: str) -> Iterator[Database]:
    """A database with a connection for each of the claimers."""
    with Database(database_url, application_name="guestguard-tests", pool_size=CLAIMERS) as database:
        yield database


def test_of_twenty_claimers_of_a_message_exactly_one_wins(wide: Database) -> None:
    messages, event = MessageRepo(wide), make_event(wide)
    for _ in range(ROUNDS):
        message = make_message(wide, event)
        results = race([partial(messages.claim_for_sending, [message.id])] * CLAIMERS)
        assert [result for result in results if result] == [[message.id]]


def test_claimers_of_overlapping_batches_share_them_out_without_a_message_twice(wide: Database) -> None:
    messages, event = MessageRepo(wide), make_event(wide)
    ids = [make_message(wide, event).id for _ in range(60)]
    shuffled = [random.sample(ids, k=50) for _ in range(CLAIMERS)]
    results = race([partial(messages.claim_for_sending, batch) for batch in shuffled])
    claimed = [message_id for result in results if isinstance(result, list) for message_id in result]
    assert sorted(claimed) == sorted(set().union(*shuffled))


def test_an_edit_that_races_a_claim_is_either_sent_or_refused(wide: Database) -> None:
    messages, event = MessageRepo(wide), make_event(wide)
    for _ in range(ROUNDS):
        message = make_message(wide, event)
        claimed, edited = race(
            [
                partial(messages.claim_for_sending, [message.id]),
                partial(messages.update, message.id, MessageChanges(subject="New"), expected_version=1),
            ]
        )
        assert claimed == [message.id]
        if isinstance(edited, Message):
            assert read_message(wide, message.id).subject == "New"
        else:
            assert isinstance(edited, MessageNotEditable)
            assert read_message(wide, message.id).subject == message.subject


def test_a_cancellation_that_races_a_claim_either_stops_the_message_or_is_refused(wide: Database) -> None:
    messages, event = MessageRepo(wide), make_event(wide)
    for _ in range(ROUNDS):
        message = make_message(wide, event)
        claimed, cancelled = race(
            [partial(messages.claim_for_sending, [message.id]), partial(messages.cancel, message.id)]
        )
        assert (claimed == [message.id]) is isinstance(cancelled, MessageNotEditable)
        assert (claimed == []) is isinstance(cancelled, Message)


def test_a_claim_that_had_to_wait_for_an_edit_obeys_it(wide: Database) -> None:
    messages, message = MessageRepo(wide), make_message(wide, make_event(wide))
    with ThreadPoolExecutor(1) as threads:
        with wide.transaction() as connection:
            lock_message(connection, message.id)
            edit_message(connection, message.id, send_at=wide.now() + A_DAY)
            claim = threads.submit(messages.claim_for_sending, [message.id])
            wait_until_blocked(wide)
        assert claim.result() == []
    assert read_message(wide, message.id).status is MessageStatus.SCHEDULED


def test_a_claim_that_had_to_wait_for_harmless_words_still_takes_the_message(wide: Database) -> None:
    messages, message = MessageRepo(wide), make_message(wide, make_event(wide))
    with ThreadPoolExecutor(1) as threads:
        with wide.transaction() as connection:
            lock_message(connection, message.id)
            edit_message(connection, message.id, subject="New")
            claim = threads.submit(messages.claim_for_sending, [message.id])
            wait_until_blocked(wide)
        assert claim.result() == [message.id]


def test_an_event_cancelled_at_the_due_instant_either_stops_the_message_or_finds_it_sending(wide: Database) -> None:
    messages, events = MessageRepo(wide), EventRepo(wide)
    for _ in range(ROUNDS):
        event = make_event(wide)
        message = make_message(wide, event)
        claimed, _ = race([partial(messages.claim_for_sending, [message.id]), partial(events.cancel, event.id)])
        now = read_message(wide, message.id)
        if not claimed:
            assert (now.status, now.status_reason) == (MessageStatus.CANCELLED, CancelReason.EVENT_CANCELLED)
        else:
            assert now.status is MessageStatus.SENDING


def test_no_message_is_left_scheduled_for_an_event_cancelled_meanwhile(wide: Database) -> None:
    messages, events = MessageRepo(wide), EventRepo(wide)
    for _ in range(ROUNDS):
        event = make_event(wide)
        draft = MessageDraft(
            event.id, MessageChannel.EMAIL, MessageAudience.EVERYONE, "Subject", "Body", event.starts_at - A_DAY
        )
        created, _ = race([partial(messages.create, draft), partial(events.cancel, event.id)])
        assert isinstance(created, Message | EventCancelled)
        assert messages.list_by_event(event.id, statuses=[MessageStatus.SCHEDULED]) == []


def test_a_retry_that_races_the_end_of_its_message_never_leaves_it_sent_with_open_deliveries(wide: Database) -> None:
    messages, event = MessageRepo(wide), make_event(wide)
    guests = make_guests(wide, event, 2)
    for _ in range(ROUNDS):
        message = make_message(wide, event, status=MessageStatus.SENT, audience_frozen_at=wide.now())
        make_deliveries(wide, message, guests, status=DeliveryStatus.FAILED, retryable=True)
        reopened, ended = race([partial(messages.retry_failed, message.id), partial(messages.mark_sent, [message.id])])
        assert (reopened, ended) == (2, [])
        assert read_message(wide, message.id).status is MessageStatus.SENDING


def test_edits_claims_moves_and_cancellations_of_one_event_never_deadlock(wide: Database) -> None:
    messages, events = MessageRepo(wide), EventRepo(wide)
    event = make_event(wide)
    ids = [make_message(wide, event).id for _ in range(40)]
    draft = MessageDraft(
        event.id, MessageChannel.EMAIL, MessageAudience.EVERYONE, "Subject", "Body", event.starts_at - A_DAY
    )
    dice = random.Random(7)  # noqa: S311

    def shuffled() -> list[UUID]:
        return dice.sample(ids, k=len(ids))

    def often(action: Callable[[], object]) -> Callable[[], None]:
        def repeat() -> None:
            for _ in range(25):
                action()

        return repeat

    def put_back() -> None:
        for message_id in shuffled():
            set_columns(wide, read_message(wide, message_id), status=MessageStatus.SCHEDULED, held_at=None)

    race(
        [
            often(lambda: events.move(event.id, starts_at=event.starts_at + dice.randint(1, 9) * A_DAY)),
            often(lambda: messages.claim_for_sending(shuffled())),
            often(lambda: messages.claim_for_sending(shuffled())),
            often(lambda: messages.hold(shuffled(), reason="terminated")),
            often(lambda: messages.hold(shuffled(), reason="terminated")),
            often(lambda: messages.create_batch([draft, draft])),
            often(put_back),
        ]
    )
    events.cancel(event.id)
    assert messages.list_by_event(event.id, statuses=[MessageStatus.SCHEDULED]) == []
