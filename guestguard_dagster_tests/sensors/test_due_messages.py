from datetime import timedelta

from dagster import DagsterInstance, DagsterRunStatus, SensorResult, SkipReason
from sqlalchemy import text

from guestguard_dagster.domain.messages import CancelReason, MessageKind, MessageStatus
from guestguard_dagster.jobs.queues import SEND_SLOTS
from guestguard_dagster.jobs.send_tags import MOST_TAGS
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.factories import make_event, make_message, read_message, set_columns
from guestguard_dagster_tests.sensors.ticks import tick, write_run


def asked(result: SensorResult | SkipReason) -> list[list[str]]:
    """The message ids of each run that the tick asks for."""
    if isinstance(result, SkipReason):
        return []
    return [request.run_config["message_ids"] for request in result.run_requests or []]


def test_a_run_is_asked_for_before_its_message_is_due(instance: DagsterInstance, database: Database) -> None:
    event = make_event(database)
    soon = make_message(database, event, send_in=timedelta(seconds=60))
    make_message(database, event, send_in=timedelta(minutes=5))

    assert asked(tick(instance, "due_messages")) == [[str(soon.id)]]


def test_messages_due_together_share_a_run(instance: DagsterInstance, database: Database) -> None:
    event = make_event(database)
    due = database.now() + timedelta(seconds=30)
    together = [make_message(database, event, send_at=due) for _ in range(30)]
    alone = make_message(database, event, send_at=due + timedelta(seconds=20))

    first, second = asked(tick(instance, "due_messages"))

    assert sorted(first) == sorted(str(message.id) for message in together)
    assert second == [str(alone.id)]


def test_a_message_is_asked_for_once_while_the_run_request_holds(instance: DagsterInstance, database: Database) -> None:
    message = make_message(database, make_event(database))

    assert asked(tick(instance, "due_messages")) == [[str(message.id)]]
    assert asked(tick(instance, "due_messages")) == []


def test_a_run_request_that_nobody_answered_is_made_again_under_a_new_key(
    instance: DagsterInstance, database: Database
) -> None:
    message = make_message(database, make_event(database))
    first = tick(instance, "due_messages")
    set_columns(database, message, asked_until=database.now() - timedelta(seconds=1))

    second = tick(instance, "due_messages")

    assert isinstance(first, SensorResult)
    assert isinstance(second, SensorResult)
    assert asked(first) == asked(second)
    keys = {request.run_key for result in (first, second) for request in result.run_requests or []}
    assert len(keys) == 2


def test_a_run_that_has_not_started_yet_is_not_asked_for_twice(instance: DagsterInstance, database: Database) -> None:
    message = make_message(database, make_event(database))
    tick(instance, "due_messages")
    write_run(instance, DagsterRunStatus.STARTING, [str(message.id)])
    nearly_over = database.now() + timedelta(seconds=5)
    set_columns(database, message, asked_until=nearly_over)

    assert asked(tick(instance, "due_messages")) == []

    renewed = read_message(database, message.id).asked_until
    assert renewed is not None
    assert renewed > nearly_over


def test_what_is_left_of_a_sending_message_is_asked_for(instance: DagsterInstance, database: Database) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENDING)

    assert asked(tick(instance, "due_messages")) == [[str(message.id)]]


def test_a_held_message_is_left_alone(instance: DagsterInstance, database: Database) -> None:
    make_message(database, make_event(database), held_at=database.now(), held_reason="stopped by the host")

    assert asked(tick(instance, "due_messages")) == []


def test_a_message_that_its_event_overtook_expires(instance: DagsterInstance, database: Database) -> None:
    event = make_event(database, starts_in=-timedelta(minutes=5))
    message = make_message(database, event, send_in=-timedelta(minutes=30))

    assert asked(tick(instance, "due_messages")) == []

    expired = read_message(database, message.id)
    assert (expired.status, expired.status_reason) == (MessageStatus.CANCELLED, CancelReason.EVENT_STARTED)


def test_runs_leave_slots_to_others(instance: DagsterInstance, database: Database) -> None:
    event = make_event(database)
    for seconds in range(0, 90, 5):
        make_message(database, event, send_in=timedelta(seconds=seconds))
    for _ in range(6):
        write_run(instance, DagsterRunStatus.STARTED, [])

    runs = asked(tick(instance, "due_messages"))

    assert sum(map(len, runs)) == 18
    assert len(runs) <= 2


def test_a_run_can_be_found_by_its_messages_and_events(instance: DagsterInstance, database: Database) -> None:
    event = make_event(database)
    message = make_message(database, event)

    result = tick(instance, "due_messages")

    assert isinstance(result, SensorResult)
    assert result.run_requests is not None
    tags = result.run_requests[0].tags
    assert f"guestguard.message/{message.id}" in tags
    assert f"guestguard.event/{event.id}" in tags


def test_a_run_with_many_messages_has_few_tags(instance: DagsterInstance, database: Database) -> None:
    event = make_event(database)
    for _ in range(MOST_TAGS + 1):
        make_message(database, event)

    result = tick(instance, "due_messages")

    assert isinstance(result, SensorResult)
    assert result.run_requests is not None
    assert not [tag for tag in result.run_requests[0].tags if tag.startswith("guestguard.message/")]
    assert result.run_requests[0].tags["guestguard/messages"] == str(MOST_TAGS + 1)


def test_ten_thousand_messages_of_one_second_are_all_asked_for_before_it(
    instance: DagsterInstance, database: Database
) -> None:
    event = make_event(database)
    with database.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO scheduled_messages "
                "(event_id, kind, channel, audience, subject, body, status, send_at) "
                "SELECT :event, 'broadcast', 'email', 'everyone', 'News', repeat('Hi {{guest_name}}. ', 40), "
                "'scheduled', now() + interval '85 seconds' FROM generate_series(1, 10000)"
            ),
            {"event": event.id},
        )

    # As many ticks as fit before the instant; a run is launched for each request, and waits in the queue.
    requests = []
    for _ in range(3):
        result = tick(instance, "due_messages")
        requests += list(result.run_requests or []) if isinstance(result, SensorResult) else []

    asked_for = [message_id for request in requests for message_id in request.run_config["message_ids"]]
    assert len(asked_for) == len(set(asked_for)) == 10_000
    assert len(requests) <= SEND_SLOTS
    assert max(len(request.run_config["message_ids"]) for request in requests) <= 1250
    for request in requests:
        assert len(request.tags) <= MOST_TAGS + 1
        assert all(len(f"{tag}{value}") < 200 for tag, value in request.tags.items())


def test_a_message_whose_run_crashed_is_asked_for_alone(instance: DagsterInstance, database: Database) -> None:
    event = make_event(database)
    together = [make_message(database, event, status=MessageStatus.SENDING) for _ in range(4)]
    assert len(asked(tick(instance, "due_messages"))) == 1
    fresh = [make_message(database, event) for _ in range(3)]
    for message in together:
        set_columns(database, message, asked_until=database.now() - timedelta(seconds=1))

    runs = asked(tick(instance, "due_messages"))

    assert sorted(map(len, runs)) == [1, 1, 1, 1, 3]
    [shared] = [run for run in runs if len(run) > 1]
    assert set(shared) == {str(message.id) for message in fresh}


def test_a_reminder_whose_words_no_longer_hold_is_cancelled(instance: DagsterInstance, database: Database) -> None:
    event = make_event(database, starts_in=timedelta(hours=3))
    message = make_message(database, event, kind=MessageKind.REMINDER_1_DAY, send_in=-timedelta(hours=25))

    assert asked(tick(instance, "due_messages")) == []

    expired = read_message(database, message.id)
    assert (expired.status, expired.status_reason) == (MessageStatus.CANCELLED, CancelReason.TIME_PASSED)


def test_an_open_breaker_lets_messages_wait_and_says_why(instance: DagsterInstance, database: Database) -> None:
    message = make_message(database, make_event(database))
    with database.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO breakers (account, reason, opened_at, open_until, open_seconds) "
                "VALUES ('log:email', 'the key was refused', now(), now() + interval '5 minutes', 300)"
            )
        )

    assert asked(tick(instance, "due_messages")) == []

    assert read_message(database, message.id).waiting_reason == "the key was refused"
