"""A fast sender leases several batches at once: what one of them brings, or a host does then, holds for the next."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import Message, MessageStatus
from guestguard_dagster.senders.smtp.sending import SmtpSender
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.batches import Lease
from guestguard_dagster_tests.delivery.rows import batches_of, statuses_of
from guestguard_dagster_tests.delivery.steps import send
from guestguard_dagster_tests.delivery.watched import WatchedSmtp, at_call
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener

# The first lease is of one batch, since nothing is known of the server; the second one of several.
BATCH_SIZE = SmtpSender.batch_size
GUESTS = 5 * BATCH_SIZE
SECOND_LEASE = 2


@pytest.fixture
def watched(mail_server: SmtpLoopback) -> WatchedSmtp:
    return WatchedSmtp(mail_server)


@pytest.fixture
def sending(open_sending: SendContextOpener, watched: WatchedSmtp) -> SendContext:
    return open_sending(senders=watched.senders())


@pytest.fixture
def message(database: Database) -> Message:
    event = make_event(database)
    make_guests(database, event, GUESTS)
    return make_message(database, event)


def count_leases(sending: SendContext) -> list[Lease]:
    """The leases that this run takes from now on, as they come."""
    leases: list[Lease] = []
    original = sending.batches.lease

    def lease(*queues: Any, **limits: Any) -> Lease:
        leases.append(original(*queues, **limits))
        return leases[-1]

    sending.batches.lease = lease  # type: ignore[method-assign]
    return leases


def test_several_batches_leave_by_one_lease_each_marked_just_before_it_leaves(
    sending: SendContext, database: Database, message: Message, watched: WatchedSmtp, mail_server: SmtpLoopback
) -> None:
    leases = count_leases(sending)
    marked: list[int] = []
    watched.before = lambda: marked.append(statuses_of(database, message)["sending"])
    send(sending, [message.id])
    assert len(leases) < GUESTS / BATCH_SIZE
    assert max(marked) <= BATCH_SIZE
    assert statuses_of(database, message) == {"sent": GUESTS}
    assert set(mail_server.recipients().values()) == {1}


def test_a_bounce_does_not_cost_the_other_batches_their_lease(
    sending: SendContext, database: Database, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    for number in range(GUESTS):
        make_guests(database, event, 1, email=f"gone-{number}@example.com")
    gone = Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.1.1 no such user", times=None)
    mail_server.faults.add(gone)
    leases = count_leases(sending)
    message = make_message(database, event)
    send(sending, [message.id])
    assert statuses_of(database, message) == {"failed": GUESTS}
    assert len(leases) < GUESTS / BATCH_SIZE


def test_batches_leave_however_long_composing_takes(
    sending: SendContext, database: Database, message: Message, watched: WatchedSmtp
) -> None:
    watched.prepared = lambda: time.sleep(0.1)
    send(replace(sending, pace=replace(sending.pace, facts_hold=timedelta(milliseconds=50))), [message.id])
    assert statuses_of(database, message) == {"sent": GUESTS}


def test_an_address_that_bounced_in_one_batch_is_not_written_to_in_the_next(
    sending: SendContext, database: Database, watched: WatchedSmtp, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    for _ in range(GUESTS):
        make_guests(database, event, 1, email="everybody@example.com")
    message = make_message(database, event)
    gone = Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.1.1 no such user", times=None)
    watched.prepared = at_call(SECOND_LEASE, lambda: mail_server.faults.add(gone))

    send(sending, [message.id])

    assert mail_server.commands["RCPT"] == 2 * BATCH_SIZE
    assert statuses_of(database, message) == {
        "sent": BATCH_SIZE,
        "failed": BATCH_SIZE,
        "suppressed": GUESTS - 2 * BATCH_SIZE,
    }


def test_a_message_that_is_held_between_two_batches_stops_there_and_frees_the_rest(
    sending: SendContext, database: Database, message: Message, watched: WatchedSmtp, mail_server: SmtpLoopback
) -> None:
    watched.after = at_call(SECOND_LEASE, lambda: sending.messages.hold([message.id], reason="an operator"))
    send(sending, [message.id])
    assert len(mail_server.accepted) == 2 * BATCH_SIZE
    assert statuses_of(database, message) == {"sent": 2 * BATCH_SIZE, "pending": GUESTS - 2 * BATCH_SIZE}
    assert {batch.lease_token for batch in batches_of(database, message)} == {None}
    assert read_message(database, message.id).status is MessageStatus.SENDING
