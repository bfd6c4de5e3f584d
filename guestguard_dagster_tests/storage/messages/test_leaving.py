"""When a message may leave: what is due, who claims it, what came too late, what is held."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import CancelReason, Message, MessageKind, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import MessageNotHoldable
from guestguard_dagster.storage.locks import lock_event, lock_message, lock_messages_of
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.writing import edit_message
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster_tests.factories import make_event, make_message, read_message, set_columns
from guestguard_dagster_tests.storage.racing import wait_until_blocked

A_MINUTE = timedelta(minutes=1)


def started_event(database: Database, **columns: Any) -> Event:
    return make_event(database, starts_in=-A_MINUTE, **columns)


def free_to_leave(database: Database) -> list[Message]:
    coming, cancelled = make_event(database), make_event(database, cancelled_at=database.now())
    return [
        make_message(database, coming, send_in=-5 * A_MINUTE),
        make_message(database, coming, send_in=-4 * A_MINUTE, not_before=database.now() - A_MINUTE),
        make_message(database, cancelled, send_in=-3 * A_MINUTE, survives_event_cancel=True),
        make_message(database, started_event(database), send_in=-A_MINUTE / 2),
    ]


def kept_back(database: Database) -> list[Message]:
    coming, cancelled = make_event(database), make_event(database, cancelled_at=database.now())
    others = [make_message(database, coming, status=status) for status in MessageStatus if status != "scheduled"]
    return [
        *others,
        make_message(database, coming, send_in=A_MINUTE),
        make_message(database, coming, not_before=database.now() + A_MINUTE),
        make_message(database, coming, held_at=database.now(), held_reason="terminated"),
        make_message(database, cancelled),
        make_message(database, started_event(database), send_in=-2 * A_MINUTE),
    ]


def test_the_due_messages_are_listed_and_claimed_and_no_others(database: Database) -> None:
    messages, free, kept = MessageRepo(database), free_to_leave(database), kept_back(database)
    assert messages.list_due() == free
    assert messages.list_due(limit=2) == free[:2]
    claimed = messages.claim_for_sending([message.id for message in kept + free] + [uuid4()])
    assert set(claimed) == {message.id for message in free}
    assert messages.list_due() == []
    for message in kept:
        assert read_message(database, message.id) == message
        assert messages.claim_for_sending([message.id]) == []
    assert messages.claim_for_sending([]) == []


def test_looking_ahead_shows_what_comes_due_soon(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    soon = make_message(database, event, send_in=A_MINUTE)
    waits = make_message(database, event, not_before=database.now() + A_MINUTE)
    make_message(database, event, send_in=10 * A_MINUTE)
    assert messages.list_due() == []
    assert {message.id for message in messages.list_due(lookahead=2 * A_MINUTE)} == {soon.id, waits.id}


def test_a_claimed_message_is_sending_since_now_and_waits_for_nothing(database: Database) -> None:
    message = make_message(
        database, make_event(database), not_before=database.now() - A_MINUTE, waiting_reason="provider paused"
    )
    before = database.now()
    assert MessageRepo(database).claim_for_sending([message.id]) == [message.id]
    claimed = read_message(database, message.id)
    assert claimed.status is MessageStatus.SENDING
    assert claimed.started_at is not None
    assert before <= claimed.started_at <= database.now()
    assert (claimed.not_before, claimed.waiting_reason, claimed.version) == (None, None, message.version)


def test_what_could_only_leave_after_the_start_expires(database: Database) -> None:
    messages, event = MessageRepo(database), started_event(database)
    late = make_message(database, event, send_in=-2 * A_MINUTE, asked_until=database.now() + A_MINUTE)
    held = make_message(database, event, send_in=-2 * A_MINUTE, held_at=database.now(), held_reason="terminated")
    spared = [
        make_message(database, event, send_in=-A_MINUTE / 2),
        make_message(database, event, send_at=event.starts_at),
        make_message(database, event, send_in=A_MINUTE),
        make_message(database, event, send_in=-2 * A_MINUTE, status=MessageStatus.DRAFT),
        make_message(database, event, send_in=-2 * A_MINUTE, status=MessageStatus.SENDING),
        make_message(database, make_event(database), send_in=-2 * A_MINUTE),
    ]
    other = make_message(database, event, send_in=-2 * A_MINUTE)

    assert set(messages.expire_late([late.id, held.id, *(message.id for message in spared)])) == {late.id, held.id}
    expired = read_message(database, late.id)
    assert (expired.status, expired.status_reason) == (MessageStatus.CANCELLED, CancelReason.EVENT_STARTED)
    assert (expired.asked_until, expired.version) == (None, late.version + 1)
    assert messages.expire_late() == [other.id]
    for message in spared:
        assert read_message(database, message.id) == message
    assert messages.expire_late() == []


def a_reminder(database: Database, **columns: Any) -> Message:
    """ "Tomorrow is the day", meant for yesterday; its event starts in three hours, or was moved to later."""
    event = make_event(database, starts_in=timedelta(hours=3), timezone="Europe/Berlin")
    return make_message(database, event, kind=MessageKind.REMINDER_1_DAY, send_in=-timedelta(hours=25), **columns)


def test_a_reminder_whose_words_no_longer_hold_is_cancelled_and_never_claimed(database: Database) -> None:
    messages = MessageRepo(database)
    late = a_reminder(database)
    held = a_reminder(database, held_at=database.now(), held_reason="terminated")
    spared = [
        a_reminder(database, status=MessageStatus.DRAFT),
        a_reminder(database, status=MessageStatus.SENDING),
        make_message(database, make_event(database), send_in=-timedelta(hours=25)),
    ]

    assert messages.claim_for_sending([late.id, held.id]) == []
    assert set(messages.expire_late()) == {late.id, held.id}

    for message in (late, held):
        expired = read_message(database, message.id)
        assert (expired.status, expired.status_reason) == (MessageStatus.CANCELLED, CancelReason.TIME_PASSED)
    for message in spared:
        assert read_message(database, message.id) == message


@pytest.mark.parametrize("edit", ["host", "event"])
def test_what_somebody_edited_since_it_was_read_is_not_cancelled(database: Database, edit: str) -> None:
    messages, message = MessageRepo(database), a_reminder(database)
    seen = messages.departures([message.id])[message.id]
    if edit == "host":
        messages.promote_to_scheduled(message.id)
    else:
        EventRepo(database).move(message.event_id, starts_at=database.now() + timedelta(days=3))

    assert messages.expire([(seen, CancelReason.TIME_PASSED)]) == []

    assert read_message(database, message.id).status is MessageStatus.SCHEDULED


def test_a_cancellation_that_waits_for_a_hosts_edit_obeys_it(database: Database) -> None:
    messages, message = MessageRepo(database), a_reminder(database)
    seen = messages.departures([message.id])[message.id]
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as connection:
            lock_message(connection, message.id)
            edit_message(connection, message.id, send_at=database.now())
            expiring = threads.submit(messages.expire, [(seen, CancelReason.TIME_PASSED)])
            wait_until_blocked(database)
        assert expiring.result() == []
    assert read_message(database, message.id).status is MessageStatus.SCHEDULED


def test_a_move_of_the_event_that_a_cancellation_waits_for_keeps_also_a_broadcast(database: Database) -> None:
    messages, event = MessageRepo(database), started_event(database)
    late = make_message(database, event, send_in=-2 * A_MINUTE)
    seen = messages.departures([late.id])[late.id]
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as connection:
            lock_event(connection, event.id)
            lock_messages_of(connection, event.id)
            expiring = threads.submit(messages.expire, [(seen, CancelReason.EVENT_STARTED)])
            wait_until_blocked(database)
            connection.execute(
                text("UPDATE events SET starts_at = now() + interval '1 day', updated_at = clock_timestamp()")
            )
        assert expiring.result() == []
    assert messages.claim_for_sending([late.id]) == [late.id]


def test_a_host_can_still_send_now_what_came_too_late(database: Database) -> None:
    messages = MessageRepo(database)
    late = make_message(database, started_event(database), send_in=-2 * A_MINUTE)
    assert messages.claim_for_sending([late.id]) == []
    messages.promote_to_scheduled(late.id)
    assert messages.expire_late() == []
    assert messages.claim_for_sending([late.id]) == [late.id]


def test_a_held_message_leaves_only_once_it_is_resumed(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    message = make_message(database, event, asked_until=database.now() + A_MINUTE)
    assert messages.hold([message.id], reason="run terminated by an operator") == [message.id]
    assert messages.hold([message.id], reason="again") == []
    held = read_message(database, message.id)
    assert held.held_reason == "run terminated by an operator"
    assert messages.claim_for_sending([message.id]) == []
    resumed = messages.resume(message.id)
    assert (resumed.held_at, resumed.held_reason, resumed.asked_until) == (None, None, None)
    assert messages.claim_for_sending([message.id]) == [message.id]
    assert messages.hold([message.id], reason="midway") == [message.id]


@pytest.mark.parametrize("status", [MessageStatus.DRAFT, MessageStatus.CANCELLED, MessageStatus.SENT])
def test_what_is_not_on_its_way_cannot_be_held(database: Database, status: MessageStatus) -> None:
    messages, message = MessageRepo(database), make_message(database, make_event(database), status=status)
    assert messages.hold([message.id], reason="terminated") == []
    with pytest.raises(MessageNotHoldable, match=f"{message.id} is {status}"):
        messages.resume(message.id)
    assert read_message(database, message.id) == message


def test_what_is_due_is_found_by_the_index_without_reading_what_is_not(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    with database.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO scheduled_messages "
                "(event_id, kind, channel, audience, subject, body, status, send_at) "
                "SELECT :event_id, 'broadcast', 'email', 'everyone', '', '', 'scheduled', "
                "now() + n * interval '1 minute' FROM generate_series(1, 20000) n"
            ),
            {"event_id": event.id},
        )
        connection.execute(text("ANALYZE scheduled_messages"))
    due = make_message(database, event)

    statements: list[tuple[str, Any]] = []

    @sqlalchemy_event.listens_for(database.engine, "before_cursor_execute")
    def note(_c: object, _k: object, statement: str, parameters: Any, _x: object, _m: object) -> None:
        statements.append((statement, parameters))

    assert messages.list_due() == [due]
    ((query, parameters),) = [entry for entry in statements if "scheduled_messages" in entry[0]]
    with database.transaction() as connection:
        explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", parameters).scalar_one()
    (scan,) = [node for node in _nodes(explained[0]["Plan"]) if node.get("Relation Name") == "scheduled_messages"]
    assert scan["Index Name"] == "ix_scheduled_messages_due"
    assert "send_at" in scan["Index Cond"]
    assert scan["Actual Rows"] == 1


def test_a_message_whose_event_moves_past_it_is_late_only_for_the_new_start(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    message = make_message(database, event, send_in=-2 * A_MINUTE)
    set_columns(database, event, starts_at=database.now() - A_MINUTE)
    assert messages.claim_for_sending([message.id]) == []
    set_columns(database, event, starts_at=database.now() + A_MINUTE)
    assert messages.claim_for_sending([message.id]) == [message.id]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)
