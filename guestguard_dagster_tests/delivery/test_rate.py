"""A run keeps to its account's rate, in small steps, and leaves room for mail that cannot wait."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from uuid import uuid4

import pytest
from sqlalchemy import text

from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import Message, MessageChannel
from guestguard_dagster.senders.base import HandOff, Mail, RateLimit
from guestguard_dagster.senders.smtp.sending import BATCH_SIZE
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.delivery.rows import deliveries_of, statuses_of
from guestguard_dagster_tests.delivery.steps import prepare, send
from guestguard_dagster_tests.delivery.watched import WatchedSmtp, once
from guestguard_dagster_tests.factories import make_event, make_guests, make_message
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.resend import ResendLoopback
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.loopback.twilio import TwilioLoopback
from guestguard_dagster_tests.send_contexts import (
    NEVER_QUIET,
    SendContextOpener,
    smtp_settings,
    twilio_settings,
)

A_SECOND = timedelta(seconds=1)


def a_message(database: Database, recipients: int) -> Message:
    event = make_event(database)
    make_guests(database, event, recipients)
    return make_message(database, event)


def reserved_ahead(sending: SendContext) -> timedelta:
    """How far the reservations of the email account reach into the future; below zero when they are over."""
    with sending.database.transaction() as connection:
        ahead: timedelta = connection.execute(
            text("SELECT theoretical_arrival - clock_timestamp() FROM rate_buckets WHERE account = :account"),
            {"account": sending.senders.email.account},
        ).scalar_one()
        return ahead


def test_two_processes_together_keep_to_the_rate(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
) -> None:
    message = a_message(database, 40)
    contexts = [open_sending(smtp_settings(mail_server, smtp_mails_per_second=20)) for _ in range(2)]
    started = database.now()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda sending: send(sending, [message.id]), contexts))
    rows = deliveries_of(database, message)
    assert {row.status for row in rows} == {"sent"}
    took = max(row.handed_off_at for row in rows) - started
    assert took >= 1.5 * A_SECOND, "40 mails at 20 a second, of which the first ten may leave at once"


def test_a_short_message_reserves_no_more_than_a_moment(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
) -> None:
    sending = open_sending(smtp_settings(mail_server, smtp_mails_per_second=5))
    send(sending, [a_message(database, 2).id])
    assert reserved_ahead(sending) < A_SECOND


def test_mail_that_cannot_wait_never_waits_behind_a_broadcast(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
) -> None:
    watched = WatchedSmtp(mail_server, mails_per_second=8)
    sending = open_sending(senders=watched.senders())
    message = a_message(database, 12)
    waits: list[timedelta] = []

    def reserve_as_transactional_mail_does() -> None:
        wait = sending.rates.reserve(watched.account, cost=1, per_second=8, backlog_below=None)
        assert wait is not None
        waits.append(wait)

    watched.before = reserve_as_transactional_mail_does
    send(sending, [message.id])
    assert len(waits) >= 3
    assert max(waits) < 1.2 * A_SECOND


def test_while_a_run_waits_for_its_turn_its_last_answers_are_written_down(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
) -> None:
    watched = WatchedSmtp(mail_server, mails_per_second=3)
    sending = open_sending(senders=watched.senders())
    message = a_message(database, 3)
    seen: list[int] = []
    watched.prepared = lambda: seen.append(statuses_of(database, message)["sending"])
    send(sending, [message.id])
    assert seen == [0, 0, 0]
    assert statuses_of(database, message) == {"sent": 3}


def slow_down(seconds: int) -> Fault:
    return Fault(
        at="/emails/batch",
        do=FaultKind.REPLY,
        status=429,
        headers={"retry-after": str(seconds), "content-type": "application/json"},
        reply='{"statusCode": 429, "name": "rate_limit_exceeded", "message": "slow down"}',
    )


@pytest.mark.usefixtures("hasty")
def test_a_providers_wish_to_slow_down_holds_for_the_whole_account(
    resend_sending: SendContext, database: Database, resend: ResendLoopback
) -> None:
    resend.faults.add(slow_down(20))
    message = a_message(database, 3)
    send(resend_sending, [message.id])
    breaker = resend_sending.breakers.get(resend_sending.senders.email.account)
    assert breaker is not None
    assert 10 * A_SECOND < breaker.remaining <= 20 * A_SECOND
    assert {row.attempts for row in deliveries_of(database, message)} == {0}, "it is about no recipient"


@pytest.mark.usefixtures("hasty")
def test_a_wish_for_hours_is_asked_about_again_after_some_minutes(
    resend_sending: SendContext, database: Database, resend: ResendLoopback
) -> None:
    resend.faults.add(slow_down(36_000))
    send(resend_sending, [a_message(database, 1).id])
    breaker = resend_sending.breakers.get(resend_sending.senders.email.account)
    assert breaker is not None
    assert timedelta(minutes=1) < breaker.remaining <= timedelta(minutes=5)


def test_an_account_that_must_slow_down_does_not_hold_up_the_other_channel(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback, text_server: TwilioLoopback
) -> None:
    sending = open_sending(smtp_settings(mail_server, smtp_mails_per_second=10), twilio_settings(text_server))
    event = make_event(database, **NEVER_QUIET)
    for number in range(30):
        make_guests(database, event, 1, phone=f"+4917112345{number:02}")
    mails, texts = make_message(database, event), make_message(database, event, channel=MessageChannel.SMS)
    prepare(sending, [mails.id, texts.id])
    sending.rates.push_back(sending.senders.email.account, wait=timedelta(minutes=1))
    stop = Event()

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(dispatch, sending, [mails.id, texts.id], stop)
        while len(text_server.accepted) < 30 and not run.done():
            stop.wait(0.05)
        still_to_wait = reserved_ahead(sending)
        stop.set()
        run.result()

    assert still_to_wait > timedelta(seconds=10)
    assert mail_server.accepted == []
    assert statuses_of(database, texts) == {"sent": 30}


class CuttingSmtp(WatchedSmtp):
    """Makes two requests of what others make one of, as Resend does of mail with attachments."""

    def prepare(self, items: Sequence[Mail]) -> list[HandOff]:
        middle = len(items) // 2
        return super().prepare(items[:middle]) + super().prepare(items[middle:])


def test_a_request_of_a_batch_that_gets_no_turn_does_not_leave(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
) -> None:
    watched = CuttingSmtp(mail_server)
    watched.rate_limit = RateLimit(1000, "request")
    watched.batch_size = 2 * BATCH_SIZE
    sending = open_sending(senders=watched.senders())
    message = a_message(database, 2 * BATCH_SIZE)
    prepare(sending, [message.id])
    watched.after = once(lambda: sending.rates.push_back(watched.account, wait=timedelta(minutes=1)))
    stop = Event()

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(dispatch, sending, [message.id], stop)
        while not statuses_of(database, message)["sent"] and not run.done():
            stop.wait(0.05)
        stop.set()
        run.result()

    assert statuses_of(database, message) == {"sent": BATCH_SIZE, "pending": BATCH_SIZE}
    assert len(mail_server.accepted) == BATCH_SIZE


def test_of_two_runs_at_a_slow_account_one_goes_on_with_the_messages_of_both(
    open_sending: SendContextOpener, database: Database, text_server: TwilioLoopback
) -> None:
    settings = twilio_settings(text_server, twilio_messages_per_second=6)
    first, second = open_sending(settings), open_sending(settings)
    long, short = (text_message(database, guests) for guests in (30, 3))
    prepare(first, [long.id])
    prepare(second, [short.id])

    with ThreadPoolExecutor(2) as pool:
        long_run = pool.submit(dispatch, first, [long.id], Event())
        while not text_server.accepted:
            Event().wait(0.05)
        # What has left already fills the rate for a while: the one waits and takes it whole, and the other comes then.
        while not _is_used_whole(database):
            _fill_rate(first)
        short_run = pool.submit(dispatch, second, [short.id], Event())
        while not short_run.done():
            _fill_rate(first)
        reports = [long_run.result(), short_run.result()]
    # Where one ended just as the other left, the next tick's run goes on.
    dispatch(first, [long.id, short.id], Event())

    assert statuses_of(database, long) == {"sent": 30}
    assert statuses_of(database, short) == {"sent": 3}
    left = [reason for report in reports for reason in report.deferred]
    assert len(left) == 1
    assert "another run sends all" in left[0]


def _fill_rate(sending: SendContext) -> None:
    sending.rates.push_back(sending.senders.sms.account, wait=timedelta(seconds=2))
    Event().wait(0.05)


def _is_used_whole(database: Database) -> bool:
    with database.transaction() as connection:
        taken = text("SELECT EXISTS (SELECT FROM rate_buckets WHERE run_token IS NOT NULL)")
        return bool(connection.execute(taken).scalar_one())


def test_a_run_that_is_gone_leaves_the_rate_to_the_next(
    open_sending: SendContextOpener, database: Database, text_server: TwilioLoopback
) -> None:
    sending = open_sending(twilio_settings(text_server, twilio_messages_per_second=1000))
    account = sending.senders.sms.account
    dead, alive = uuid4(), uuid4()
    sending.rates.reserve(account, cost=1, per_second=1, backlog_below=None)
    assert sending.rates.become_sole(account, dead)
    assert not sending.rates.become_sole(account, alive)
    with database.transaction() as connection:
        connection.execute(text("UPDATE rate_buckets SET run_until = clock_timestamp()"))
    assert sending.rates.become_sole(account, alive)
    sending.rates.leave_to_others(account, alive)
    assert sending.rates.become_sole(account, dead)


def text_message(database: Database, recipients: int) -> Message:
    event = make_event(database, **NEVER_QUIET)
    for number in range(recipients):
        make_guests(database, event, 1, phone=f"+4917112345{number:02}")
    return make_message(database, event, channel=MessageChannel.SMS)
