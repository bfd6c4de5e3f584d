"""A message leaves at its instant by the database's clock; until then its host decides, then one process takes it."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Event

import pytest

from guestguard_dagster.delivery.claim import ClaimReport, claim
from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.run_requests import request_runs
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import CancelReason, Message, MessageChanges, MessageKind, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster_tests.delivery.rows import deliveries_of, outcomes_of
from guestguard_dagster_tests.delivery.steps import prepare, send
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message, set_columns
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener, smtp_settings

A_MOMENT = timedelta(milliseconds=700)
A_MINUTE = timedelta(minutes=1)
AN_HOUR = timedelta(hours=1)


def status_of(database: Database, message: Message) -> MessageStatus:
    return read_message(database, message.id).status


def wait_for_renewal(database: Database, message: Message) -> None:
    """Until the run that waits for this message has said so."""
    give_up_at = time.monotonic() + 30
    while read_message(database, message.id).asked_until == message.asked_until:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_of_many_processes_exactly_one_claims(open_sending: SendContextOpener, database: Database) -> None:
    message = make_message(database, make_event(database))
    contexts = [open_sending() for _ in range(6)]
    start = Barrier(len(contexts))

    def try_to_claim(sending: SendContext) -> bool:
        start.wait()
        return sending.messages.claim_for_sending([message.id]) == [message.id]

    with ThreadPoolExecutor(len(contexts)) as pool:
        assert sum(pool.map(try_to_claim, contexts)) == 1
    assert status_of(database, message) is MessageStatus.SENDING


def test_it_waits_until_the_message_is_due_on_the_databases_clock(sending: SendContext, database: Database) -> None:
    message = make_message(database, make_event(database), send_in=A_MOMENT)

    report = claim(sending, [message.id], Event())

    assert report == ClaimReport(sending=(message.id,), waiting=(), left=(), expired=())
    claimed = read_message(database, message.id)
    assert claimed.send_at is not None
    assert claimed.started_at is not None
    assert claimed.started_at >= claimed.send_at


def test_it_does_not_wait_for_what_is_due_much_later(sending: SendContext, database: Database) -> None:
    message = make_message(database, make_event(database), send_in=AN_HOUR)
    assert claim(sending, [message.id], Event()).left == (message.id,)
    assert status_of(database, message) is MessageStatus.SCHEDULED


def test_it_stops_waiting_when_it_is_told_to(sending: SendContext, database: Database) -> None:
    message = make_message(database, make_event(database), send_in=A_MINUTE)
    stop = Event()
    stop.set()
    assert claim(sending, [message.id], stop).waiting == (message.id,)


class TestUntilItsInstant:
    """What a host does while a run waits already."""

    @pytest.fixture
    def message(self, database: Database) -> Message:
        event = make_event(database)
        make_guests(database, event, 2)
        return make_message(database, event, send_in=A_MINUTE, asked_until=database.now() + A_MINUTE)

    @pytest.fixture
    def run(self, sending: SendContext, database: Database, message: Message) -> Iterator[Future[object]]:
        """It looks at its rows every 50 ms."""
        watchful = replace(sending, pace=replace(sending.pace, look_again=timedelta(milliseconds=50)))
        with ThreadPoolExecutor(1) as pool:
            future: Future[object] = pool.submit(send, watchful, [message.id])
            wait_for_renewal(database, message)
            yield future

    def test_a_message_cancelled_is_not_sent(
        self, run: Future[object], database: Database, message: Message, mail_server: SmtpLoopback
    ) -> None:
        MessageRepo(database).cancel(message.id)
        run.result()
        assert mail_server.accepted == []
        assert status_of(database, message) is MessageStatus.CANCELLED

    def test_a_message_edited_leaves_in_its_new_form_at_its_new_time(
        self, run: Future[object], database: Database, message: Message, mail_server: SmtpLoopback
    ) -> None:
        soon = database.now() + A_MOMENT
        changes = MessageChanges(subject="The new subject", send_at=soon)
        MessageRepo(database).update(message.id, changes, expected_version=message.version)
        run.result()
        assert len(mail_server.accepted) == 2
        assert all(b"Subject: The new subject" in mail.content for mail in mail_server.accepted)
        sent = read_message(database, message.id)
        assert sent.started_at is not None
        assert sent.started_at >= soon

    def test_a_message_sent_now_leaves_now(
        self, run: Future[object], database: Database, message: Message, mail_server: SmtpLoopback
    ) -> None:
        MessageRepo(database).promote_to_scheduled(message.id)
        run.result()
        assert len(mail_server.accepted) == 2
        assert status_of(database, message) is MessageStatus.SENT

    def test_a_message_moved_far_away_is_left(
        self, run: Future[object], database: Database, message: Message, mail_server: SmtpLoopback
    ) -> None:
        later = database.now() + AN_HOUR
        MessageRepo(database).update(message.id, MessageChanges(send_at=later), expected_version=message.version)
        run.result()
        assert mail_server.accepted == []
        assert status_of(database, message) is MessageStatus.SCHEDULED

    def test_a_message_held_is_left(
        self, run: Future[object], database: Database, message: Message, mail_server: SmtpLoopback
    ) -> None:
        MessageRepo(database).hold([message.id], reason="stopped")
        run.result()
        assert mail_server.accepted == []
        assert status_of(database, message) is MessageStatus.SCHEDULED

    def test_the_run_keeps_others_from_being_asked(
        self, run: Future[object], sending: SendContext, database: Database, message: Message
    ) -> None:
        assert request_runs(sending.messages, sending.run_requests, {}, most=10) == []
        MessageRepo(database).cancel(message.id)
        run.result()


class TestWhatMayNotLeave:
    def test_a_held_message_that_is_due_is_left(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 1)
        message = make_message(database, event)
        MessageRepo(database).hold([message.id], reason="stopped")
        send(sending, [message.id])
        assert mail_server.accepted == []
        assert status_of(database, message) is MessageStatus.SCHEDULED

    def test_a_message_that_waits_for_something_is_claimed_when_its_wait_is_over(
        self, sending: SendContext, database: Database
    ) -> None:
        until = database.now() + A_MOMENT
        message = make_message(database, make_event(database), not_before=until, waiting_reason="quiet hours")
        claim(sending, [message.id], Event())
        claimed = read_message(database, message.id)
        assert claimed.started_at is not None
        assert claimed.started_at >= until
        assert (claimed.not_before, claimed.waiting_reason) == (None, None)

    def test_what_could_only_leave_after_its_event_has_started_is_cancelled(
        self, sending: SendContext, database: Database
    ) -> None:
        event = make_event(database, starts_in=timedelta(seconds=-1))
        message = make_message(database, event, send_in=-AN_HOUR)
        assert claim(sending, [message.id], Event()).expired == (message.id,)
        expired = read_message(database, message.id)
        assert (expired.status, expired.status_reason) == (MessageStatus.CANCELLED, CancelReason.EVENT_STARTED)

    def test_a_reminder_whose_words_no_longer_hold_is_cancelled_instead_of_sent(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database, starts_in=3 * AN_HOUR)
        make_guests(database, event, 1)
        message = make_message(database, event, kind=MessageKind.REMINDER_1_DAY, send_in=-25 * AN_HOUR)
        send(sending, [message.id])
        expired = read_message(database, message.id)
        assert (expired.status, expired.status_reason) == (MessageStatus.CANCELLED, CancelReason.TIME_PASSED)
        assert mail_server.accepted == []

    def test_a_reminder_that_becomes_untrue_while_it_is_sent_skips_the_rest(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 2)
        message = make_message(database, event, kind=MessageKind.REMINDER_1_DAY)
        prepare(sending, [message.id])
        set_columns(database, message, send_at=database.now() - 25 * AN_HOUR)
        send(sending, [message.id])
        assert mail_server.accepted == []
        assert outcomes_of(database, message) == {("skipped", "time_passed"): 2}
        ended = read_message(database, message.id)
        assert (ended.status, ended.status_reason) == (MessageStatus.FAILED, "time_passed")

    def test_a_thank_you_leaves_after_its_event_has_started(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database, starts_in=-AN_HOUR)
        make_guests(database, event, 1)
        message = make_message(database, event)
        send(sending, [message.id])
        assert len(mail_server.accepted) == 1
        assert status_of(database, message) is MessageStatus.SENT

    @pytest.mark.parametrize(("survives", "mails"), [(True, 1), (False, 0)])
    def test_of_a_cancelled_event_only_what_is_meant_to_survive_that_leaves(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback, survives: bool, mails: int
    ) -> None:
        event = make_event(database, cancelled_at=database.now())
        make_guests(database, event, 1)
        message = make_message(database, event, survives_event_cancel=survives)
        send(sending, [message.id])
        assert len(mail_server.accepted) == mails


class TestAWideGroup:
    def test_each_message_leaves_at_its_own_instant_and_waits_for_none_that_follows(
        self, sending: SendContext, database: Database
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 1)
        messages = [make_message(database, event, send_in=number * A_MOMENT) for number in range(4)]

        send(sending, [message.id for message in messages])

        left_at = [deliveries_of(database, message)[0].handed_off_at for message in messages]
        for message, instant in zip(messages, left_at, strict=True):
            assert message.send_at is not None
            assert instant >= message.send_at
        assert left_at[0] < read_message(database, messages[-1].id).started_at

    def test_a_message_cancelled_while_the_others_leave_is_not_sent(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 1)
        due, later = make_message(database, event), make_message(database, event, send_in=timedelta(seconds=1))
        prepare(sending, [due.id, later.id])
        MessageRepo(database).cancel(later.id)
        dispatch(sending, [due.id, later.id], Event())
        assert len(mail_server.accepted) == 1
        assert deliveries_of(database, later) == []

    def test_a_message_that_another_run_claimed_is_helped_along(
        self, open_sending: SendContextOpener, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 3)
        message = make_message(database, event)
        other = open_sending(smtp_settings(mail_server))
        other.messages.claim_for_sending([message.id])
        send(sending, [message.id])
        assert status_of(database, message) is MessageStatus.SENT

    def test_an_event_that_moved_before_a_messages_time_keeps_the_message(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 1)
        message = make_message(database, event)
        set_columns(database, event, starts_at=database.now() - timedelta(seconds=1))
        set_columns(database, message, send_at=database.now() - AN_HOUR)
        send(sending, [message.id])
        assert mail_server.accepted == []
        assert status_of(database, message) is MessageStatus.CANCELLED
