"""A provider account that takes nothing: nobody's attempts are burnt, everybody is told why, one process probes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import pytest
from sqlalchemy import func, text, update

from guestguard_dagster.delivery.blocked_channels import blocked_channels, wake_from_replaced_accounts
from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.run_requests import request_runs
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import Message, MessageChannel, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.run_requests import MessageRunRequest
from guestguard_dagster.storage.providers.breakers import FIRST_OPEN_TIME, Breaker
from guestguard_dagster.storage.tables.deliveries import delivery_batches
from guestguard_dagster_tests.crash.passing_time import let_waits_pass
from guestguard_dagster_tests.delivery.rows import attempts_of, deliveries_of, statuses_of
from guestguard_dagster_tests.delivery.steps import prepare, send
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message, set_columns
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpFeatures, SmtpLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener, smtp_settings

USER, PASSWORD = "mailer", "the right password"
A_SECOND = timedelta(seconds=1)


@pytest.fixture
def locked_server() -> Iterator[SmtpLoopback]:
    """A mail server that asks for a password."""
    with SmtpLoopback(SmtpFeatures(users=((USER, PASSWORD),))) as server:
        yield server


@pytest.fixture
def sending(open_sending: SendContextOpener, locked_server: SmtpLoopback) -> SendContext:
    """The password is right; the server says that it is not as long as `refuse` says so."""
    return open_sending(smtp_settings(locked_server, smtp_username=USER, smtp_password=PASSWORD))


def refuse(server: SmtpLoopback) -> None:
    server.faults.add(Fault(at="auth", do=FaultKind.REPLY, reply="535 5.7.8 bad credentials", times=None))


def a_message(database: Database, recipients: int = 3) -> Message:
    event = make_event(database)
    make_guests(database, event, recipients)
    return make_message(database, event)


def breaker_of(sending: SendContext) -> Breaker | None:
    return sending.breakers.get(sending.senders.email.account)


def requests(sending: SendContext) -> list[MessageRunRequest]:
    """What a tick of the sensor requests runs for."""
    return request_runs(
        sending.messages, sending.run_requests, blocked_channels(sending.breakers, sending.senders), most=100
    )


def open_time_is_over(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE breakers SET open_until = clock_timestamp()"))


def let_the_open_time_pass(database: Database, *messages: Message) -> None:
    let_waits_pass(database)
    for message in messages:
        set_columns(database, message, not_before=database.now() - A_SECOND)


def let_batches_wait(database: Database, wait: timedelta) -> None:
    with database.transaction() as connection:
        waiting = update(delivery_batches).where(delivery_batches.c.state == "pending")
        connection.execute(waiting.values(not_before=func.clock_timestamp() + wait))


def test_it_opens_and_no_attempt_is_burnt(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    message = a_message(database)

    report = send(sending, [message.id])

    breaker = breaker_of(sending)
    assert breaker is not None
    assert FIRST_OPEN_TIME - 10 * A_SECOND < breaker.remaining <= FIRST_OPEN_TIME
    for row in deliveries_of(database, message):
        assert (row.status, row.attempts) == ("pending", 0)
    waiting = read_message(database, message.id)
    assert waiting.status is MessageStatus.SENDING
    assert waiting.waiting_reason == breaker.reason
    assert waiting.not_before is not None
    assert waiting.not_before >= breaker.open_until - A_SECOND
    assert report.deferred == {breaker.reason: 1}
    assert breaker.reason.startswith(
        "smtp takes nothing at the moment: the mail server refused at the login stage: 535"
    )
    assert PASSWORD not in breaker.reason


def test_every_hand_off_leaves_its_trace(sending: SendContext, database: Database, locked_server: SmtpLoopback) -> None:
    refuse(locked_server)
    message = a_message(database, 1)
    send(sending, [message.id])
    [row] = deliveries_of(database, message)
    [attempt] = attempts_of(database, row.id)
    assert (attempt.outcome, attempt.error_class) == ("provider_wide", "login_refused")


def test_while_it_is_open_no_run_hands_anything_off(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    first, second = a_message(database), a_message(database)
    send(sending, [first.id])
    logins = locked_server.commands["AUTH"]
    report = send(sending, [first.id, second.id])
    assert locked_server.commands["AUTH"] == logins
    assert locked_server.accepted == []
    assert sum(report.deferred.values()) == 2
    assert statuses_of(database, second) == {"pending": 3}


def test_while_it_is_open_nobody_is_asked(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    first, second = a_message(database), a_message(database)
    send(sending, [first.id])
    assert requests(sending) == []
    assert read_message(database, second.id).waiting_reason == read_message(database, first.id).waiting_reason


def test_when_its_time_is_over_one_message_is_asked_for_and_one_recipient_tried(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    first, second = a_message(database, 20), a_message(database, 20)
    send(sending, [first.id])
    let_the_open_time_pass(database, first)
    tried = locked_server.connections

    [requested] = requests(sending)
    send(sending, [requested.message_id])

    assert requested.message_id == first.id
    assert read_message(database, second.id).waiting_reason is not None
    assert locked_server.connections - tried == 1
    assert sum(len(attempts_of(database, row.id)) for row in deliveries_of(database, first)) == 21


def test_a_failed_probe_doubles_the_open_time(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    message = a_message(database)
    send(sending, [message.id])
    for doubled in (2, 4):
        let_the_open_time_pass(database, message)
        send(sending, [message.id])
        breaker = breaker_of(sending)
        assert breaker is not None
        expected = doubled * FIRST_OPEN_TIME
        assert expected - 10 * A_SECOND < breaker.remaining <= expected
        assert statuses_of(database, message) == {"pending": 3}


def test_a_successful_probe_closes_it_and_wakes_who_waits(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    first, second, third = a_message(database), a_message(database), a_message(database)
    send(sending, [first.id])
    assert requests(sending) == []
    let_the_open_time_pass(database, first)
    locked_server.faults.clear()

    [probe] = requests(sending)
    send(sending, [probe.message_id])

    assert breaker_of(sending) is None
    assert read_message(database, first.id).status is MessageStatus.SENT, "the rest follows the probe"
    for waiting in (second, third):
        woken = read_message(database, waiting.id)
        assert (woken.waiting_reason, woken.not_before) == (None, None)
    assert {requested.message_id for requested in requests(sending)} == {second.id, third.id}
    send(sending, [second.id, third.id])
    assert set(locked_server.recipients().values()) == {1}
    assert len(locked_server.accepted) == 9


def test_of_many_processes_one_probes(
    open_sending: SendContextOpener, database: Database, locked_server: SmtpLoopback
) -> None:
    settings = smtp_settings(locked_server, smtp_username=USER, smtp_password=PASSWORD)
    contexts = [open_sending(settings) for _ in range(4)]
    messages = [a_message(database, 5) for _ in contexts]
    refuse(locked_server)
    send(contexts[0], [messages[0].id])
    prepare(contexts[0], [message.id for message in messages])
    let_the_open_time_pass(database)
    tried = locked_server.connections

    with ThreadPoolExecutor(len(contexts)) as pool:
        list(pool.map(lambda sending, message: dispatch(sending, [message.id], Event()), contexts, messages))

    assert locked_server.connections - tried == 1
    assert breaker_of(contexts[0]) is not None


def test_a_probe_that_found_nothing_to_try_is_given_back(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    message = a_message(database, 1)
    send(sending, [message.id])
    let_batches_wait(database, timedelta(hours=1))
    open_time_is_over(database)

    report = send(sending, [message.id])

    assert report.deferred == {"waiting to try again": 1}
    assert breaker_of(sending) is not None
    assert sending.breakers.win_probe(sending.senders.email.account) is not None


def test_a_breaker_that_nobody_probed_yet_is_not_passed_by_a_whole_group(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    message = a_message(database, 30)
    send(sending, [message.id])
    let_batches_wait(database, timedelta(seconds=0.5))
    open_time_is_over(database)
    before = sum(len(attempts_of(database, row.id)) for row in deliveries_of(database, message))

    send(sending, [message.id])

    after = sum(len(attempts_of(database, row.id)) for row in deliveries_of(database, message))
    assert after - before == 1


def test_a_probe_that_met_a_dead_server_proves_nothing(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    message = a_message(database, 4)
    send(sending, [message.id])
    let_the_open_time_pass(database, message)
    locked_server.faults.clear()
    locked_server.faults.add(Fault(at="connect", do=FaultKind.DROP, times=None))

    send(sending, [message.id])

    breaker = breaker_of(sending)
    assert breaker is not None
    assert {row.attempts for row in deliveries_of(database, message)} == {0}
    assert read_message(database, message.id).waiting_reason == breaker.reason


def test_an_account_of_one_channel_does_not_stop_the_other(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    message = a_message(database)
    send(sending, [message.id])
    blocked = blocked_channels(sending.breakers, sending.senders)
    assert blocked.keys() == {MessageChannel.EMAIL}
    assert not blocked[MessageChannel.EMAIL].probe
    let_waits_pass(database)
    assert blocked_channels(sending.breakers, sending.senders)[MessageChannel.EMAIL].probe


def test_another_account_at_the_same_provider_is_not_stopped(
    open_sending: SendContextOpener,
    database: Database,
    sending: SendContext,
    locked_server: SmtpLoopback,
    mail_server: SmtpLoopback,
) -> None:
    refuse(locked_server)
    message = a_message(database)
    send(sending, [message.id])
    send(open_sending(smtp_settings(mail_server)), [message.id])
    assert statuses_of(database, message) == {"sent": 3}


def test_a_host_who_stops_a_waiting_message_keeps_it_from_being_the_probe(
    sending: SendContext, database: Database, locked_server: SmtpLoopback
) -> None:
    refuse(locked_server)
    stopped, other = a_message(database), a_message(database)
    send(sending, [stopped.id])
    sending.messages.hold([stopped.id], reason="the host stopped it")
    let_the_open_time_pass(database, stopped)
    assert [requested.message_id for requested in requests(sending)] == [other.id]


def test_a_new_account_wakes_who_waited_for_the_old_one(
    open_sending: SendContextOpener,
    database: Database,
    sending: SendContext,
    locked_server: SmtpLoopback,
    mail_server: SmtpLoopback,
) -> None:
    refuse(locked_server)
    message = a_message(database)
    send(sending, [message.id])
    wake_from_replaced_accounts(sending.breakers, sending.run_requests, sending.senders)
    assert requests(sending) == [], "the account is still in use"

    new = open_sending(smtp_settings(mail_server))
    wake_from_replaced_accounts(new.breakers, new.run_requests, new.senders)

    assert [requested.message_id for requested in requests(new)] == [message.id]
    assert breaker_of(sending) is None
    send(new, [message.id])
    assert statuses_of(database, message) == {"sent": 3}
