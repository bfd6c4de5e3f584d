"""Asking for runs: what is asked for, when, and that nobody asks twice."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from guestguard_dagster.domain.messages import Message, MessageChanges, MessageChannel, MessageStatus
from guestguard_dagster.storage.asks import ASK_HOLDS_FOR, LOOK_AHEAD, AskRepo, ChannelPause
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages import MessageRepo
from guestguard_dagster_tests.factories import make_event, make_message, read_message, set_columns

A_MINUTE = timedelta(minutes=1)
AN_HOUR = timedelta(hours=1)


@pytest.fixture
def asks(database: Database) -> AskRepo:
    return AskRepo(database)


def taken(asks: AskRepo, *, limit: int = 100, pauses: dict[MessageChannel, ChannelPause] | None = None) -> list[object]:
    return [ask.message_id for ask in asks.take(limit=limit, pauses=pauses)]


def let_the_ask_run_out(database: Database, message: Message) -> None:
    set_columns(database, message, asked_until=database.now() - timedelta(seconds=1))


def test_what_is_due_soon_is_asked_for_and_what_is_due_later_is_not(asks: AskRepo, database: Database) -> None:
    event = make_event(database)
    late = make_message(database, event, send_in=-AN_HOUR)
    soon = make_message(database, event, send_in=LOOK_AHEAD - timedelta(seconds=5))
    make_message(database, event, send_in=LOOK_AHEAD + timedelta(seconds=30))
    make_message(database, event, status=MessageStatus.DRAFT)
    make_message(database, event, status=MessageStatus.CANCELLED)
    make_message(database, event, status=MessageStatus.SENT)

    found = asks.take(limit=100)

    assert [ask.message_id for ask in found] == [late.id, soon.id]
    assert [ask.ask_no for ask in found] == [1, 1]
    assert found[0].event_id == event.id
    assert database.now() - found[0].due_at < A_MINUTE, "what is late is due now"
    assert found[1].due_at == soon.send_at


def test_the_oldest_come_first_whether_due_or_unfinished(asks: AskRepo, database: Database) -> None:
    event = make_event(database)
    due = [make_message(database, event, send_in=-minutes * A_MINUTE) for minutes in (1, 3, 5)]
    unfinished = [
        make_message(database, event, send_in=-minutes * A_MINUTE, status=MessageStatus.SENDING) for minutes in (2, 4)
    ]

    assert set(taken(asks, limit=3)) == {due[2].id, unfinished[1].id, due[1].id}
    assert set(taken(asks, limit=3)) == {unfinished[0].id, due[0].id}


def test_two_callers_never_get_the_same_ask(asks: AskRepo, database: Database) -> None:
    event = make_event(database)
    messages = {make_message(database, event, send_in=-A_MINUTE).id for _ in range(60)}
    start = Barrier(4)

    def take(_: int) -> list[object]:
        start.wait()
        return taken(asks, limit=20) + taken(asks, limit=20)

    with ThreadPoolExecutor(4) as pool:
        found = [message_id for part in pool.map(take, range(4)) for message_id in part]

    rest = taken(asks)
    assert len(found) == len(set(found))
    assert set(found) | set(rest) == messages
    assert not set(found) & set(rest)


def test_an_ask_that_has_run_out_is_taken_again_under_a_higher_number(asks: AskRepo, database: Database) -> None:
    message = make_message(database, make_event(database))
    [first] = asks.take(limit=10)
    assert asks.take(limit=10) == []

    let_the_ask_run_out(database, message)
    [second] = asks.take(limit=10)

    assert (first.ask_no, second.ask_no) == (1, 2)


def test_an_ask_holds_until_a_while_after_the_message_is_due(asks: AskRepo, database: Database) -> None:
    message = make_message(database, make_event(database), send_in=A_MINUTE)
    asks.take(limit=10)
    assert read_message(database, message.id).asked_until == message.send_at + ASK_HOLDS_FOR  # type: ignore[operator]


def test_a_live_run_keeps_others_from_being_asked(asks: AskRepo, database: Database) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENDING)
    asks.take(limit=10)
    let_the_ask_run_out(database, message)

    asks.renew([message.id])

    assert asks.take(limit=10) == []
    renewed = read_message(database, message.id).asked_until
    assert renewed is not None
    assert ASK_HOLDS_FOR - A_MINUTE < renewed - database.now() <= ASK_HOLDS_FOR


def test_renewing_does_not_answer_for_a_message_that_was_edited_meanwhile(asks: AskRepo, database: Database) -> None:
    message = make_message(database, make_event(database), send_in=A_MINUTE)
    asks.take(limit=10)
    MessageRepo(database).update(message.id, MessageChanges(subject="New words"), expected_version=message.version)

    asks.renew([message.id])

    assert [ask.ask_no for ask in asks.take(limit=10)] == [2]


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
    asks: AskRepo, database: Database, edit: Callable[[MessageRepo, Message], Message]
) -> None:
    message = make_message(database, make_event(database), send_in=A_MINUTE)
    assert [ask.ask_no for ask in asks.take(limit=10)] == [1]
    edit(MessageRepo(database), message)
    assert [ask.ask_no for ask in asks.take(limit=10)] == [2]


def test_a_held_message_is_not_asked_for_until_it_is_resumed(asks: AskRepo, database: Database) -> None:
    messages = MessageRepo(database)
    event = make_event(database)
    due, unfinished = make_message(database, event), make_message(database, event, status=MessageStatus.SENDING)
    messages.hold([due.id, unfinished.id], reason="stopped")
    assert taken(asks) == []

    messages.resume(unfinished.id)
    assert taken(asks) == [unfinished.id]


def test_what_was_put_off_is_asked_for_when_its_wait_is_over(asks: AskRepo, database: Database) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENDING)
    asks.take(limit=10)

    asks.put_off([message.id], wait=AN_HOUR, reason="waiting to try again")

    waiting = read_message(database, message.id)
    assert waiting.waiting_reason == "waiting to try again"
    assert waiting.not_before is not None
    assert AN_HOUR - A_MINUTE < waiting.not_before - database.now() <= AN_HOUR
    assert asks.take(limit=10) == []

    set_columns(database, message, not_before=database.now())
    assert taken(asks) == [message.id]
    assert read_message(database, message.id).waiting_reason is None, "somebody was asked: it waits no more"


def test_a_scheduled_message_that_waits_is_asked_for_ahead_of_the_end_of_its_wait(
    asks: AskRepo, database: Database
) -> None:
    not_before = database.now() + A_MINUTE
    message = make_message(database, make_event(database), not_before=not_before, waiting_reason="quiet hours")

    [ask] = asks.take(limit=10)

    assert ask.due_at == not_before
    assert read_message(database, message.id).asked_until == not_before + ASK_HOLDS_FOR
    assert read_message(database, message.id).waiting_reason == "quiet hours"


def test_a_message_that_somebody_let_go_is_asked_for_at_once(asks: AskRepo, database: Database) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENDING)
    asks.take(limit=10)
    asks.let_go([message.id])
    assert taken(asks) == [message.id]


def test_only_those_who_wait_for_this_reason_are_woken(asks: AskRepo, database: Database) -> None:
    event = make_event(database)
    due = make_message(database, event)
    unfinished = make_message(database, event, status=MessageStatus.SENDING)
    other = make_message(database, event)
    asks.put_off([due.id, unfinished.id], wait=AN_HOUR, reason="smtp takes nothing")
    asks.put_off([other.id], wait=AN_HOUR, reason="quiet hours")

    asks.wake(reason="smtp takes nothing")

    assert set(taken(asks)) == {due.id, unfinished.id}
    assert read_message(database, other.id).waiting_reason == "quiet hours"


def test_a_queued_run_does_not_keep_a_message_asleep_after_it_was_woken(asks: AskRepo, database: Database) -> None:
    message = make_message(database, make_event(database))
    asks.take(limit=10)
    set_columns(database, message, not_before=database.now() + AN_HOUR, waiting_reason="smtp takes nothing")
    asks.renew([message.id])

    asks.wake(reason="smtp takes nothing")

    asked_until = read_message(database, message.id).asked_until
    assert asked_until is not None
    assert asked_until - database.now() <= ASK_HOLDS_FOR


class TestPausedChannel:
    """While a provider's account takes nothing."""

    @staticmethod
    def pause(database: Database, remaining: timedelta) -> dict[MessageChannel, ChannelPause]:
        until = database.now() + remaining
        return {MessageChannel.EMAIL: ChannelPause(until, "smtp takes nothing", probe=remaining <= timedelta())}

    @pytest.mark.parametrize("remaining", [timedelta(seconds=20), AN_HOUR], ids=["soon over", "long"])
    @pytest.mark.parametrize("status", [MessageStatus.SCHEDULED, MessageStatus.SENDING])
    def test_its_messages_wait_with_the_reason_and_nobody_is_asked(
        self, asks: AskRepo, database: Database, remaining: timedelta, status: MessageStatus
    ) -> None:
        message = make_message(database, make_event(database), status=status)
        pauses = self.pause(database, remaining)

        assert taken(asks, pauses=pauses) == []

        waiting = read_message(database, message.id)
        assert waiting.waiting_reason == "smtp takes nothing"
        assert waiting.not_before is not None
        assert waiting.not_before >= pauses[MessageChannel.EMAIL].until
        assert taken(asks, pauses=pauses) == []

    def test_the_other_channel_does_not_wait(self, asks: AskRepo, database: Database) -> None:
        event = make_event(database)
        make_message(database, event)
        text = make_message(database, event, channel=MessageChannel.SMS)
        assert taken(asks, pauses=self.pause(database, AN_HOUR)) == [text.id]

    def test_when_the_pause_is_over_one_message_is_asked_for_the_oldest(
        self, asks: AskRepo, database: Database
    ) -> None:
        event = make_event(database)
        younger = make_message(database, event, send_in=-A_MINUTE)
        oldest = make_message(database, event, send_in=-AN_HOUR, status=MessageStatus.SENDING)
        unfinished = make_message(database, event, send_in=-2 * A_MINUTE, status=MessageStatus.SENDING)

        assert taken(asks, pauses=self.pause(database, timedelta())) == [oldest.id]
        assert taken(asks, pauses=self.pause(database, timedelta())) == []

        for waiting in (younger, unfinished):
            assert read_message(database, waiting.id).waiting_reason == "smtp takes nothing"

    def test_a_message_that_waits_for_something_else_is_no_probe(self, asks: AskRepo, database: Database) -> None:
        event = make_event(database)
        quiet = make_message(database, event, send_in=-AN_HOUR, waiting_reason="quiet hours")
        set_columns(database, quiet, not_before=database.now() + AN_HOUR)
        free = make_message(database, event)

        assert taken(asks, pauses=self.pause(database, timedelta())) == [free.id]
        assert read_message(database, quiet.id).waiting_reason == "quiet hours"

    def test_a_held_message_is_no_probe(self, asks: AskRepo, database: Database) -> None:
        event = make_event(database)
        held = make_message(database, event, send_in=-AN_HOUR)
        MessageRepo(database).hold([held.id], reason="stopped")
        free = make_message(database, event)
        assert taken(asks, pauses=self.pause(database, timedelta())) == [free.id]

    def test_a_message_that_is_due_soon_may_probe_at_its_instant(self, asks: AskRepo, database: Database) -> None:
        soon = make_message(database, make_event(database), send_in=A_MINUTE)
        [ask] = asks.take(limit=10, pauses=self.pause(database, timedelta()))
        assert (ask.message_id, ask.due_at) == (soon.id, soon.send_at)
