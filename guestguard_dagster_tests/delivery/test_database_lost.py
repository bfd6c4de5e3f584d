"""The database goes away between two steps of a hand-off: no mail is doubled, and what came of one is written down."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from threading import Event, Timer

import pytest
from sqlalchemy import text

from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.mark_sent import mark_sent
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import Message, MessageStatus
from guestguard_dagster.storage.database import Database, DatabaseUnavailable
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out
from guestguard_dagster_tests.delivery.postgres_proxy import PostgresProxy
from guestguard_dagster_tests.delivery.rows import attempts_of, deliveries_of, outcomes_of, statuses_of
from guestguard_dagster_tests.delivery.steps import prepare
from guestguard_dagster_tests.delivery.watched import WatchedSmtp, once
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener
from guestguard_dagster_tests.storage.blocking import wait_until_blocked

# What the two transactions around a hand-off say, and no other does.
MARKING = b"SET state = 'sending', provider"
WRITING_DOWN = b"SET status = $"


@pytest.fixture
def proxy(database_url: str) -> Iterator[PostgresProxy]:
    with PostgresProxy(database_url) as proxy:
        yield proxy


@pytest.fixture
def watched(mail_server: SmtpLoopback) -> WatchedSmtp:
    return WatchedSmtp(mail_server)


@pytest.fixture
def sending(open_sending: SendContextOpener, proxy: PostgresProxy, watched: WatchedSmtp) -> SendContext:
    """A send context that reaches the database through the proxy."""
    return open_sending(senders=watched.senders(), database_url=proxy.url)


@pytest.fixture
def message(database: Database, sending: SendContext) -> Message:
    event = make_event(database)
    make_guests(database, event, 5)
    message = make_message(database, event)
    prepare(sending, [message.id])
    return message


def everybody_has_one_mail(server: SmtpLoopback) -> bool:
    return set(server.recipients().values()) == {1} and len(server.accepted) == 5


@pytest.mark.parametrize("marker", [MARKING, WRITING_DOWN], ids=["marking", "writing down"])
def test_a_commit_whose_answer_is_lost_is_repeated_without_harm(
    sending: SendContext,
    database: Database,
    proxy: PostgresProxy,
    message: Message,
    mail_server: SmtpLoopback,
    marker: bytes,
) -> None:
    proxy.swallow_commit_after(marker)

    dispatch(sending, [message.id], Event())

    assert proxy.swallowed.is_set()
    assert everybody_has_one_mail(mail_server)
    assert outcomes_of(database, message) == {("sent", None): 5}
    assert [len(attempts_of(database, row.id)) for row in deliveries_of(database, message)] == [1] * 5


def test_rows_marked_by_a_commit_whose_answer_was_lost_for_too_long_are_pending_again(
    sending: SendContext, database: Database, proxy: PostgresProxy, message: Message, mail_server: SmtpLoopback
) -> None:
    proxy.swallow_commit_after(MARKING, then=lambda: let_leases_run_out(database))
    dispatch(sending, [message.id], Event())
    assert proxy.swallowed.is_set()
    assert everybody_has_one_mail(mail_server)
    assert statuses_of(database, message) == {"sent": 5}, "nothing of the lost group left, so nobody is unknown"


def lose_the_database_for_a_moment(proxy: PostgresProxy) -> Callable[[], None]:
    def lose() -> None:
        proxy.cut()
        Timer(0.5, proxy.mend).start()

    return once(lose)


def test_what_a_hand_off_brought_is_written_down_when_the_database_is_back(
    sending: SendContext,
    database: Database,
    proxy: PostgresProxy,
    watched: WatchedSmtp,
    message: Message,
    mail_server: SmtpLoopback,
) -> None:
    watched.after = lose_the_database_for_a_moment(proxy)
    with contextlib.suppress(DatabaseUnavailable):
        dispatch(sending, [message.id], Event())
    assert outcomes_of(database, message) == {("sent", None): 5}
    assert everybody_has_one_mail(mail_server)


def test_a_bounce_that_cannot_be_written_down_at_once_costs_the_others_nothing(
    sending: SendContext,
    database: Database,
    proxy: PostgresProxy,
    watched: WatchedSmtp,
    message: Message,
    mail_server: SmtpLoopback,
) -> None:
    mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.1.1 no such user"))
    watched.after = lose_the_database_for_a_moment(proxy)
    with contextlib.suppress(DatabaseUnavailable):
        dispatch(sending, [message.id], Event())
    assert statuses_of(database, message) == {"sent": 4, "failed": 1}
    assert len(sending.suppressions.list_active()) == 1


def test_the_next_run_goes_on_where_the_database_went_away(
    sending: SendContext,
    database: Database,
    proxy: PostgresProxy,
    watched: WatchedSmtp,
    message: Message,
    mail_server: SmtpLoopback,
) -> None:
    watched.prepared = lose_the_database_for_a_moment(proxy)
    with contextlib.suppress(DatabaseUnavailable):
        dispatch(sending, [message.id], Event())
    dispatch(sending, [message.id], Event())
    mark_sent(sending, [message.id])
    assert everybody_has_one_mail(mail_server)
    assert read_message(database, message.id).status is MessageStatus.SENT


def test_a_backend_terminated_while_it_writes_down_is_made_up_for(
    sending: SendContext, database: Database, watched: WatchedSmtp, message: Message, mail_server: SmtpLoopback
) -> None:
    in_the_way, terminated = threading.Event(), threading.Event()

    def be_in_the_way() -> None:
        with database.transaction() as connection:
            connection.execute(text("SELECT id FROM message_deliveries LIMIT 1 FOR UPDATE"))
            in_the_way.set()
            [blocked] = wait_until_blocked(database)
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": blocked})
        terminated.set()

    obstacle = threading.Thread(target=be_in_the_way)

    def block() -> None:
        obstacle.start()
        in_the_way.wait()

    watched.after = once(block)
    with contextlib.suppress(DatabaseUnavailable):
        dispatch(sending, [message.id], Event())
    obstacle.join()

    assert terminated.is_set()
    assert outcomes_of(database, message) == {("sent", None): 5}
    assert everybody_has_one_mail(mail_server)
