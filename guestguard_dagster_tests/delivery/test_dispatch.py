"""Hand-offs group by group: round-robin across messages, and one honest outcome for each recipient."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.delivery.settling import TRIED_FOR
from guestguard_dagster.domain.messages import Message, MessageChannel, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.passing_time import let_waits_pass
from guestguard_dagster_tests.delivery.rows import (
    attempts_of,
    batches_of,
    deliveries_of,
    delivery_of,
    outcomes_of,
    statuses_of,
)
from guestguard_dagster_tests.delivery.steps import prepare, send
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message, set_columns
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpFeatures, SmtpLoopback
from guestguard_dagster_tests.loopback.twilio import TwilioLoopback
from guestguard_dagster_tests.send_contexts import NEVER_QUIET, SendContextOpener, smtp_settings, twilio_settings

A_MOMENT = timedelta(milliseconds=200)


def a_message(database: Database, recipients: int = 1, **columns: Any) -> Message:
    event = make_event(database, **NEVER_QUIET)
    make_guests(database, event, recipients)
    return make_message(database, event, **columns)


def order_of_leaving(database: Database, *messages: Message) -> list[int]:
    """The messages, by their place among `messages`, in the order in which their rows were handed off."""
    rows = [
        (row.handed_off_at, place) for place, message in enumerate(messages) for row in deliveries_of(database, message)
    ]
    return [place for _, place in sorted(rows)]


class TestRoundRobin:
    def test_a_small_message_does_not_wait_for_a_big_one(self, sending: SendContext, database: Database) -> None:
        big, small = a_message(database, 300), a_message(database, 5)
        send(sending, [big.id, small.id])
        order = order_of_leaving(database, big, small)
        assert order.index(1) <= 50
        assert max(place for place, message in enumerate(order) if message == 1) < 100

    def test_messages_take_turns_batch_by_batch(
        self, open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
    ) -> None:
        # A batch is what the rate allows in half a second: two mails.
        sending = open_sending(smtp_settings(mail_server, smtp_mails_per_second=4))
        messages = [a_message(database, 4) for _ in range(3)]
        send(sending, [message.id for message in messages])
        order = order_of_leaving(database, *messages)
        assert Counter(order) == dict.fromkeys(range(3), 4)
        assert Counter(order[:6]) == dict.fromkeys(range(3), 2)

    def test_a_slow_channel_does_not_hold_up_the_other(
        self,
        open_sending: SendContextOpener,
        database: Database,
        mail_server: SmtpLoopback,
        text_server: TwilioLoopback,
    ) -> None:
        open_sending.pace = replace(open_sending.pace, first_backoff=A_MOMENT)
        sending = open_sending(smtp_settings(mail_server), twilio_settings(text_server, twilio_messages_per_second=4))
        event = make_event(database, **NEVER_QUIET)
        for number in range(12):
            make_guests(database, event, 1, phone=f"+4917112345{number:02}")
        mails = make_message(database, event)
        texts = make_message(database, event, channel=MessageChannel.SMS)
        mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="450 4.2.1 mailbox busy"))

        send(sending, [mails.id, texts.id])

        assert statuses_of(database, mails) == statuses_of(database, texts) == {"sent": 12}
        last_text = max(row.handed_off_at for row in deliveries_of(database, texts))
        assert all(row.handed_off_at < last_text for row in deliveries_of(database, mails)), "the retried one included"


class TestOutcomes:
    def test_a_mail_is_recorded_as_it_left(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        message = a_message(database)
        send(sending, [message.id])
        [row] = deliveries_of(database, message)
        assert (row.status, row.provider, row.account) == (
            "sent",
            "smtp",
            f"smtp:127.0.0.1:{mail_server.port}:anonymous",
        )
        assert row.handed_off_at is not None
        [attempt] = attempts_of(database, row.id)
        assert (attempt.outcome, attempt.round, attempt.run_id) == ("sent", 1, sending.run_id)
        assert f"delivery-{row.id}-1.{sending.installation.id[:8]}@".encode() in mail_server.accepted[0].content

    def test_a_refused_recipient_fails_for_good_and_the_others_get_their_mail(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        refused, *others = make_guests(database, event, 3)
        mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.2.1 disabled", only_for=refused.email))
        message = make_message(database, event)

        send(sending, [message.id])

        assert mail_server.recipients() == {guest.email: 1 for guest in others}
        row = delivery_of(database, message, refused)
        assert (row.status, row.reason, row.retryable, row.attempts) == ("failed", "refused", False, 0)
        assert sending.suppressions.list_active() == []
        assert read_message(database, message.id).status is MessageStatus.SENT

    def test_a_hard_bounce_is_never_written_to_again(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        [gone] = make_guests(database, event, 1)
        mail_server.faults.add(
            Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.1.1 no such user", only_for=gone.email)
        )
        first, second = make_message(database, event), make_message(database, event)

        send(sending, [first.id])
        row = delivery_of(database, first, gone)
        assert (row.status, row.reason, row.retryable, row.error_code) == ("failed", "refused", False, "550 5.1.1")
        [suppression] = sending.suppressions.list_active()
        assert (suppression.address, suppression.scope, suppression.reason) == (gone.email, "all", "hard_bounce")
        assert suppression.source == "smtp"
        ended = read_message(database, first.id)
        assert (ended.status, ended.status_reason) == (MessageStatus.FAILED, "refused")

        send(sending, [second.id])
        assert outcomes_of(database, second) == {("suppressed", "suppressed"): 1}
        assert mail_server.commands["RCPT"] == 1

    def test_a_stop_that_the_provider_knows_of_is_suppressed_for_that_number_alone(
        self, open_sending: SendContextOpener, database: Database, text_server: TwilioLoopback
    ) -> None:
        sending = open_sending(twilio_settings(text_server))
        event = make_event(database, **NEVER_QUIET)
        make_guests(database, event, 1, phone="+491711234567")
        text_server.opted_out.add("+491711234567")
        message = make_message(database, event, channel=MessageChannel.SMS)
        send(sending, [message.id])
        [suppression] = sending.suppressions.list_active()
        assert (suppression.channel, suppression.scope) == (
            MessageChannel.SMS,
            f"number:{sending.senders.sending_number}",
        )
        assert statuses_of(database, message) == {"failed": 1}

    def test_an_answer_that_never_came_is_unknown_and_never_sent_again(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        lost, *others = make_guests(database, event, 3)
        mail_server.faults.add(Fault(at="content", do=FaultKind.TAKE_THEN_DROP, only_for=lost.email))
        message = make_message(database, event)

        for _ in range(2):
            send(sending, [message.id])

        row = delivery_of(database, message, lost)
        assert (row.status, row.reason) == ("unknown", "answer_lost")
        assert mail_server.recipients() == {guest.email: 1 for guest in [lost, *others]}
        assert read_message(database, message.id).status is MessageStatus.SENT

    def test_what_only_the_log_took_does_not_count_as_sent(
        self, open_sending: SendContextOpener, database: Database
    ) -> None:
        sending = open_sending()
        message = a_message(database, 3)
        report = send(sending, [message.id])
        assert report.outcomes["sent"] == 0
        assert outcomes_of(database, message) == {("skipped", "log_backend"): 3}
        ended = read_message(database, message.id)
        assert (ended.status, ended.status_reason) == (MessageStatus.FAILED, "no email provider configured")

    def test_a_mail_that_is_too_big_fails_alone(self, open_sending: SendContextOpener, database: Database) -> None:
        with SmtpLoopback(SmtpFeatures(size_limit=20_000)) as server:
            sending = open_sending(smtp_settings(server))
            big, small = a_message(database, body="x" * 19_000), a_message(database)
            send(sending, [big.id, small.id])
        [row] = deliveries_of(database, big)
        assert (row.status, row.error_class, row.retryable) == ("failed", "message_too_large", False)
        assert read_message(database, small.id).status is MessageStatus.SENT


@pytest.mark.usefixtures("hasty")
class TestRetries:
    """What is answered "not now"."""

    def test_it_is_tried_again_after_a_wait_and_then_sent(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="450 4.2.1 mailbox busy", times=2))
        message = a_message(database)

        for number in (1, 2):
            report = send(sending, [message.id])
            [row] = deliveries_of(database, message)
            assert (row.status, row.reason, row.attempts) == ("pending", "retry", number)
            assert batches_of(database, message)[-1].not_before > database.now()
            assert report.deferred == {"waiting to try again": 1}
            waiting = read_message(database, message.id)
            assert (waiting.status, waiting.waiting_reason) == (MessageStatus.SENDING, "waiting to try again")
            assert sending.run_requests.take([message.id]) == [], "nobody is asked before the wait is over"
            let_waits_pass(database)
        send(sending, [message.id])

        [row] = deliveries_of(database, message)
        assert (row.status, row.attempts) == ("sent", 2)
        assert [attempt.outcome for attempt in attempts_of(database, row.id)] == ["transient", "transient", "sent"]
        assert read_message(database, message.id).status is MessageStatus.SENT
        assert len(mail_server.accepted) == 1

    def test_nothing_is_tried_before_its_wait_is_over(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="450 4.2.1 mailbox busy"))
        message = a_message(database)
        for _ in range(3):
            send(sending, [message.id])
        assert mail_server.commands["RCPT"] == 1

    def test_after_some_hours_of_trying_it_fails_and_may_be_retried_by_hand(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="450 4.2.1 mailbox busy", times=None))
        message = a_message(database)
        for _ in range(20):
            assert read_message(database, message.id).status is not MessageStatus.FAILED
            send(sending, [message.id])
            let_waits_pass(database)
        set_columns(database, deliveries_of(database, message)[0].id, first_attempt_at=database.now() - TRIED_FOR)
        send(sending, [message.id])

        [row] = deliveries_of(database, message)
        assert (row.status, row.reason, row.retryable) == ("failed", "retries_exhausted", True)
        assert len(attempts_of(database, row.id)) == 21
        ended = read_message(database, message.id)
        assert (ended.status, ended.status_reason) == (MessageStatus.FAILED, "retries_exhausted")

        mail_server.faults.clear()
        assert sending.messages.retry_failed(message.id) == 1
        send(sending, [message.id])
        [row] = deliveries_of(database, message)
        assert (row.status, row.round, row.attempts) == ("sent", 2, 0)
        assert len(mail_server.accepted) == 1

    def test_greylisting_delays_every_mail_and_loses_none(
        self, open_sending: SendContextOpener, database: Database
    ) -> None:
        with SmtpLoopback(SmtpFeatures(greylisting=True)) as server:
            sending = open_sending(smtp_settings(server))
            message = a_message(database, 60)
            send(sending, [message.id])
            assert statuses_of(database, message) == {"pending": 60}
            let_waits_pass(database)
            send(sending, [message.id])
            assert statuses_of(database, message) == {"sent": 60}
            assert set(server.recipients().values()) == {1}

    def test_a_server_that_cannot_be_reached_costs_no_attempt(
        self, open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
    ) -> None:
        with SmtpLoopback() as server:
            settings = smtp_settings(server)
        message = a_message(database, 5)
        send(open_sending(settings), [message.id])
        assert outcomes_of(database, message) == {("pending", None): 5}
        assert {row.attempts for row in deliveries_of(database, message)} == {0}
        let_waits_pass(database)
        send(open_sending(smtp_settings(mail_server)), [message.id])
        assert statuses_of(database, message) == {"sent": 5}

    def test_an_event_that_starts_during_the_wait_ends_it(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="450 4.2.1 mailbox busy"))
        event = make_event(database)
        make_guests(database, event, 1)
        message = make_message(database, event)
        send(sending, [message.id])
        set_columns(database, event, starts_at=database.now())
        let_waits_pass(database)
        send(sending, [message.id])
        assert outcomes_of(database, message) == {("skipped", "event_started"): 1}
        assert mail_server.accepted == []


class TestWaitingInTheRun:
    @pytest.fixture(autouse=True)
    def short_waits(self, open_sending: SendContextOpener) -> None:
        open_sending.pace = replace(open_sending.pace, first_backoff=A_MOMENT)

    def test_a_short_wait_is_waited_for_in_the_same_run(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="450 4.2.1 mailbox busy", times=2))
        message = a_message(database, 3)
        report = send(sending, [message.id])
        assert statuses_of(database, message) == {"sent": 3}
        assert report.deferred == {}

    def test_rows_to_be_tried_again_do_not_wait_for_the_end_of_the_audience(
        self,
        open_sending: SendContextOpener,
        database: Database,
        mail_server: SmtpLoopback,
    ) -> None:
        open_sending.pace = replace(open_sending.pace, renew_every=A_MOMENT)
        sending = open_sending(smtp_settings(mail_server, smtp_mails_per_second=20))
        mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="450 4.2.1 mailbox busy"))
        message = a_message(database, 40)
        send(sending, [message.id])
        rows = deliveries_of(database, message)
        [retried] = [row for row in rows if row.attempts]
        assert retried.status == "sent"
        assert any(row.handed_off_at > retried.handed_off_at for row in rows)


def test_the_report_tells_what_became_of_whom(
    sending: SendContext, database: Database, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    refused, _, _ = make_guests(database, event, 3)
    make_guests(database, event, 1, email=None)
    mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.1.1 no such user", only_for=refused.email))
    message = make_message(database, event)
    prepare(sending, [message.id])
    report = dispatch(sending, [message.id], Event())
    assert (report.outcomes["sent"], report.outcomes["permanent"]) == (2, 1)
    assert report.seconds > 0
    assert report.rate == pytest.approx(2 / report.seconds)


def test_one_run_serves_both_channels(sending: SendContext, database: Database) -> None:
    event = make_event(database, **NEVER_QUIET)
    make_guests(database, event, 2, phone="+491711234567")
    mails, texts = make_message(database, event), make_message(database, event, channel=MessageChannel.SMS)
    send(sending, [mails.id, texts.id])
    assert statuses_of(database, mails) == {"sent": 2}
    assert outcomes_of(database, texts) == {("skipped", "log_backend"): 2}
    assert read_message(database, texts.id).status_reason == "no sms provider configured"
