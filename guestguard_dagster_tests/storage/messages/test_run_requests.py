"""Asking for runs: what is asked for, when, and that nobody requests twice."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from guestguard_dagster.delivery.run_requests import request_runs
from guestguard_dagster.domain.messages import Message, MessageChanges, MessageChannel, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.locks import lock_message
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.run_requests import (
    LOOK_AHEAD,
    RUN_REQUEST_HOLDS_FOR,
    BlockedChannel,
    Deferral,
    MessageRunRequest,
    RunRequestRepo,
)
from guestguard_dagster.storage.messages.writing import edit_message
from guestguard_dagster_tests.factories import make_event, make_message, read_message, set_columns
from guestguard_dagster_tests.storage.racing import wait_until_blocked

A_MINUTE = timedelta(minutes=1)
AN_HOUR = timedelta(hours=1)


@pytest.fixture
def wide(database_url: str) -> Iterator[Database]:
    """A database with a connection for each thread."""
    with Database(database_url, application_name="guestguard-tests", pool_size=3) as database:
        yield database


@pytest.fixture
def requests(database: Database) -> RunRequestRepo:
    return RunRequestRepo(database)


def request(
    database: Database, *, blocked_channels: dict[MessageChannel, BlockedChannel] | None = None, most: int = 100
) -> list[MessageRunRequest]:
    """What a tick requests runs for."""
    return request_runs(MessageRepo(database), RunRequestRepo(database), blocked_channels or {}, most=most)


def taken(database: Database, *, blocked_channels: dict[MessageChannel, BlockedChannel] | None = None) -> list[object]:
    return [requested.message_id for requested in request(database, blocked_channels=blocked_channels)]


def let_the_run_request_run_out(database: Database, message: Message) -> None:
    set_columns(database, message, asked_until=database.now() - timedelta(seconds=1))


def test_what_is_due_soon_is_asked_for_and_what_is_due_later_is_not(database: Database) -> None:
    event = make_event(database)
    late = make_message(database, event, send_in=-AN_HOUR)
    soon = make_message(database, event, send_in=LOOK_AHEAD - timedelta(seconds=5))
    make_message(database, event, send_in=LOOK_AHEAD + timedelta(seconds=30))
    make_message(database, event, status=MessageStatus.DRAFT)
    make_message(database, event, status=MessageStatus.CANCELLED)
    make_message(database, event, status=MessageStatus.SENT)

    found = request(database)

    assert [requested.message_id for requested in found] == [late.id, soon.id]
    assert [requested.ask_no for requested in found] == [1, 1]
    assert found[0].event_id == event.id
    assert database.now() - found[0].due_at < A_MINUTE, "what is late is due now"
    assert found[1].due_at == soon.send_at


def test_the_oldest_come_first_whether_due_or_unfinished(database: Database) -> None:
    event = make_event(database)
    ahead = make_message(database, event, send_in=A_MINUTE)
    due = make_message(database, event)
    unfinished = make_message(database, event, send_in=-A_MINUTE, status=MessageStatus.SENDING)
    found = taken(database)
    assert set(found[:2]) == {due.id, unfinished.id}
    assert found[2:] == [ahead.id]


def test_two_callers_never_get_the_same_run_request(database: Database) -> None:
    event = make_event(database)
    messages = {make_message(database, event, send_in=-A_MINUTE).id for _ in range(60)}
    start = Barrier(4)

    def take(_: int) -> list[object]:
        start.wait()
        return taken(database)

    with ThreadPoolExecutor(4) as pool:
        found = [message_id for part in pool.map(take, range(4)) for message_id in part]

    rest = taken(database)
    assert len(found) == len(set(found))
    assert set(found) | set(rest) == messages
    assert not set(found) & set(rest)


def test_a_run_request_that_has_run_out_is_taken_again_under_a_higher_number(database: Database) -> None:
    message = make_message(database, make_event(database))
    [first] = request(database)
    assert request(database) == []

    let_the_run_request_run_out(database, message)
    [second] = request(database)

    assert (first.ask_no, second.ask_no) == (1, 2)


def test_a_run_request_holds_until_a_while_after_the_message_is_due(database: Database) -> None:
    message = make_message(database, make_event(database), send_in=A_MINUTE)
    request(database)
    assert read_message(database, message.id).asked_until == message.send_at + RUN_REQUEST_HOLDS_FOR  # type: ignore[operator]


def test_a_live_run_keeps_others_from_being_asked(requests: RunRequestRepo, database: Database) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENDING)
    request(database)
    let_the_run_request_run_out(database, message)

    requests.renew([message.id])

    assert request(database) == []
    renewed = read_message(database, message.id).asked_until
    assert renewed is not None
    assert RUN_REQUEST_HOLDS_FOR - A_MINUTE < renewed - database.now() <= RUN_REQUEST_HOLDS_FOR


def test_renewing_does_not_answer_for_a_message_that_was_edited_meanwhile(
    requests: RunRequestRepo, database: Database
) -> None:
    message = make_message(database, make_event(database), send_in=A_MINUTE)
    request(database)
    MessageRepo(database).update(message.id, MessageChanges(subject="New words"), expected_version=message.version)

    requests.renew([message.id])

    assert [requested.ask_no for requested in request(database)] == [2]


@pytest.mark.parametrize(
    "edit",
    [
        lambda messages, message: messages.update(
            message.id, MessageChanges(send_at=message.send_at), expected_version=message.version
        ),
        lambda messages, message: messages.promote_to_scheduled(message.id),
    ],
    ids=["edit", "send now"],
)
def test_an_edited_message_is_asked_for_anew(
    database: Database, edit: Callable[[MessageRepo, Message], Message]
) -> None:
    message = make_message(database, make_event(database), send_in=A_MINUTE)
    assert [requested.ask_no for requested in request(database)] == [1]
    edit(MessageRepo(database), message)
    assert [requested.ask_no for requested in request(database)] == [2]


def test_a_held_message_is_not_asked_for_until_it_is_resumed(database: Database) -> None:
    messages = MessageRepo(database)
    event = make_event(database)
    due, unfinished = make_message(database, event), make_message(database, event, status=MessageStatus.SENDING)
    messages.hold([due.id, unfinished.id], reason="stopped")
    assert taken(database) == []

    messages.resume(unfinished.id)
    assert taken(database) == [unfinished.id]


def test_what_was_deferred_is_asked_for_when_its_wait_is_over(requests: RunRequestRepo, database: Database) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENDING)
    request(database)

    requests.defer([message.id], wait=AN_HOUR, reason="waiting to try again")

    waiting = read_message(database, message.id)
    assert waiting.waiting_reason == "waiting to try again"
    assert waiting.not_before is not None
    assert AN_HOUR - A_MINUTE < waiting.not_before - database.now() <= AN_HOUR
    assert request(database) == []

    set_columns(database, message, not_before=database.now())
    assert taken(database) == [message.id]
    assert read_message(database, message.id).waiting_reason is None, "somebody was asked: it waits no more"


def test_a_scheduled_message_that_waits_is_asked_for_ahead_of_the_end_of_its_wait(database: Database) -> None:
    not_before = database.now() + A_MINUTE
    message = make_message(database, make_event(database), not_before=not_before, waiting_reason="quiet hours")

    [requested] = request(database)

    assert requested.due_at == not_before
    assert read_message(database, message.id).asked_until == not_before + RUN_REQUEST_HOLDS_FOR
    assert read_message(database, message.id).waiting_reason == "quiet hours"


def test_a_requeued_message_is_asked_for_at_once(requests: RunRequestRepo, database: Database) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENDING)
    request(database)
    requests.requeue([message.id])
    assert taken(database) == [message.id]


def test_only_those_who_wait_for_this_reason_are_woken(requests: RunRequestRepo, database: Database) -> None:
    event = make_event(database)
    due = make_message(database, event)
    unfinished = make_message(database, event, status=MessageStatus.SENDING)
    other = make_message(database, event)
    requests.defer([unfinished.id], wait=AN_HOUR, reason="smtp takes nothing")
    until = database.now() + AN_HOUR
    requests.defer_scheduled([Deferral(due.id, due.version, until, "smtp takes nothing")])
    requests.defer_scheduled([Deferral(other.id, other.version, until, "quiet hours")])

    requests.wake(reason="smtp takes nothing")

    assert set(taken(database)) == {due.id, unfinished.id}
    assert read_message(database, other.id).waiting_reason == "quiet hours"


def test_a_queued_run_does_not_keep_a_message_asleep_after_it_was_woken(
    requests: RunRequestRepo, database: Database
) -> None:
    message = make_message(database, make_event(database))
    request(database)
    set_columns(database, message, not_before=database.now() + AN_HOUR, waiting_reason="smtp takes nothing")
    requests.renew([message.id])

    requests.wake(reason="smtp takes nothing")

    asked_until = read_message(database, message.id).asked_until
    assert asked_until is not None
    assert asked_until - database.now() <= RUN_REQUEST_HOLDS_FOR


def test_a_deferral_does_not_outlive_an_edit_that_it_did_not_see(requests: RunRequestRepo, database: Database) -> None:
    message = make_message(database, make_event(database))
    seen = Deferral(message.id, message.version, database.now() + AN_HOUR, "quiet hours")
    MessageRepo(database).promote_to_scheduled(message.id)

    requests.defer_scheduled([seen])

    assert taken(database) == [message.id]


def test_a_deferral_that_waits_for_a_hosts_edit_obeys_it(wide: Database) -> None:
    message = make_message(wide, make_event(wide))
    seen = Deferral(message.id, message.version, wide.now() + AN_HOUR, "quiet hours")
    with ThreadPoolExecutor(1) as pool:
        with wide.transaction() as connection:
            lock_message(connection, message.id)
            edit_message(connection, message.id, subject="New words")
            deferring = pool.submit(RunRequestRepo(wide).defer_scheduled, [seen])
            wait_until_blocked(wide)
        deferring.result()
    assert read_message(wide, message.id).not_before is None


class TestRunOut:
    """A run request that ran out: its run crashed, or never came."""

    def test_it_is_known_as_such(self, database: Database) -> None:
        event = make_event(database)
        crashed, fresh = make_message(database, event, status=MessageStatus.SENDING), make_message(database, event)
        set_columns(database, crashed, asked_until=database.now() - timedelta(seconds=1))
        assert {requested.message_id: requested.ran_out for requested in request(database)} == {
            crashed.id: True,
            fresh.id: False,
        }

    @pytest.mark.parametrize(
        "end",
        [
            lambda requests, message: requests.requeue([message.id]),
            lambda requests, message: requests.defer([message.id], wait=timedelta(), reason="waiting to try again"),
            lambda requests, message: requests.renew([message.id]),
        ],
        ids=["requeued", "deferred", "renewed"],
    )
    def test_a_run_that_ends_in_order_or_lives_has_not_crashed(
        self, requests: RunRequestRepo, database: Database, end: Callable[[RunRequestRepo, Message], None]
    ) -> None:
        message = make_message(database, make_event(database), status=MessageStatus.SENDING)
        request(database)
        let_the_run_request_run_out(database, message)
        end(requests, message)
        assert [requested for requested in request(database) if requested.ran_out] == []

    def test_a_message_that_was_held_and_resumed_has_not_crashed(self, database: Database) -> None:
        messages, message = MessageRepo(database), make_message(database, make_event(database))
        request(database)
        messages.hold([message.id], reason="stopped")
        messages.resume(message.id)
        assert [(requested.message_id, requested.ran_out) for requested in request(database)] == [(message.id, False)]


class TestPausedChannel:
    """While a provider's account takes nothing."""

    @staticmethod
    def pause(database: Database, remaining: timedelta) -> dict[MessageChannel, BlockedChannel]:
        until = database.now() + remaining
        return {MessageChannel.EMAIL: BlockedChannel(until, "smtp takes nothing", probe=remaining <= timedelta())}

    @pytest.mark.parametrize("remaining", [timedelta(seconds=20), AN_HOUR], ids=["soon over", "long"])
    @pytest.mark.parametrize("status", [MessageStatus.SCHEDULED, MessageStatus.SENDING])
    def test_its_messages_wait_with_the_reason_and_nobody_is_asked(
        self, database: Database, remaining: timedelta, status: MessageStatus
    ) -> None:
        message = make_message(database, make_event(database), status=status)
        blocked_channels = self.pause(database, remaining)

        assert taken(database, blocked_channels=blocked_channels) == []

        waiting = read_message(database, message.id)
        assert waiting.waiting_reason == "smtp takes nothing"
        assert waiting.not_before is not None
        assert waiting.not_before >= blocked_channels[MessageChannel.EMAIL].until
        assert taken(database, blocked_channels=blocked_channels) == []

    def test_the_other_channel_does_not_wait(self, database: Database) -> None:
        event = make_event(database)
        make_message(database, event)
        text = make_message(database, event, channel=MessageChannel.SMS)
        assert taken(database, blocked_channels=self.pause(database, AN_HOUR)) == [text.id]

    def test_when_the_pause_is_over_a_run_is_requested_for_one_message_at_first_the_oldest(
        self, database: Database
    ) -> None:
        event = make_event(database)
        younger = make_message(database, event, send_in=-A_MINUTE)
        oldest = make_message(database, event, send_in=-AN_HOUR, status=MessageStatus.SENDING)
        unfinished = make_message(database, event, send_in=-2 * A_MINUTE, status=MessageStatus.SENDING)

        assert taken(database, blocked_channels=self.pause(database, timedelta())) == [oldest.id]
        assert taken(database, blocked_channels=self.pause(database, timedelta())) == []

        for waiting in (younger, unfinished):
            assert read_message(database, waiting.id).waiting_reason == "smtp takes nothing"

    def test_a_message_that_waits_for_something_else_is_no_probe(self, database: Database) -> None:
        event = make_event(database)
        quiet = make_message(database, event, send_in=-AN_HOUR, waiting_reason="quiet hours")
        set_columns(database, quiet, not_before=database.now() + AN_HOUR)
        free = make_message(database, event)

        assert taken(database, blocked_channels=self.pause(database, timedelta())) == [free.id]
        assert read_message(database, quiet.id).waiting_reason == "quiet hours"

    def test_a_held_message_is_no_probe(self, database: Database) -> None:
        event = make_event(database)
        held = make_message(database, event, send_in=-AN_HOUR)
        MessageRepo(database).hold([held.id], reason="stopped")
        free = make_message(database, event)
        assert taken(database, blocked_channels=self.pause(database, timedelta())) == [free.id]

    def test_a_message_that_is_due_soon_may_probe_at_its_instant(self, database: Database) -> None:
        soon = make_message(database, make_event(database), send_in=A_MINUTE)
        [requested] = request(database, blocked_channels=self.pause(database, timedelta()))
        assert (requested.message_id, requested.due_at) == (soon.id, soon.send_at)

    def test_the_next_probe_is_another_message(self, requests: RunRequestRepo, database: Database) -> None:
        event = make_event(database)
        messages = [
            make_message(database, event, send_in=-minutes * A_MINUTE, status=MessageStatus.SENDING)
            for minutes in (4, 3, 2)
        ]
        over = self.pause(database, timedelta())
        probed = []
        for _ in range(5):
            [probe] = taken(database, blocked_channels=over)
            probed.append(probe)
            for message in messages:
                requests.defer([message.id], wait=-A_MINUTE, reason="smtp takes nothing")
        oldest_first = [message.id for message in messages]
        assert probed == [*oldest_first, *oldest_first[:2]]

    def test_while_one_probes_no_other_does(self, database: Database) -> None:
        event = make_event(database)
        for _ in range(3):
            make_message(database, event)
        over = self.pause(database, timedelta())
        [_] = taken(database, blocked_channels=over)
        for message in MessageRepo(database).list_by_event(event.id):
            set_columns(database, message, not_before=None)
        assert taken(database, blocked_channels=over) == []
