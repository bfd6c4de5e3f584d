"""What may be tried again, and when it is too late for that: one rule for the message, the plan and the API."""

from datetime import timedelta
from typing import Any

import pytest

from guestguard_dagster.delivery.mark_sent import end_settled
from guestguard_dagster.delivery.retrying import plan_retry, retry
from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import ALL_RETRYABLE, DeliveryStatus, RetryFilter
from guestguard_dagster.domain.departures import RetryObstacle
from guestguard_dagster.domain.messages import Message, MessageKind, MessageStatus
from guestguard_dagster.partitions import ZONE
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import MessageTooLate
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message, read_message

AN_HOUR = timedelta(hours=1)
A_DAY = timedelta(days=1)


def failed_message(
    database: Database, *, starts_in: timedelta, send_in: timedelta, kind: MessageKind = MessageKind.BROADCAST
) -> Message:
    """Nothing of it could be sent, for a reason that has passed."""
    event = make_event(database, starts_in=starts_in)
    message = make_message(
        database, event, status=MessageStatus.FAILED, send_in=send_in, kind=kind, audience_frozen_at=database.now()
    )
    make_deliveries(
        database, message, make_guests(database, event, 2), status=DeliveryStatus.FAILED, retryable=True, reason="later"
    )
    return message


TOO_LATE: list[Any] = [
    pytest.param({"starts_in": -AN_HOUR, "send_in": -2 * AN_HOUR}, RetryObstacle.EVENT_STARTED, id="event started"),
    pytest.param(
        {"starts_in": AN_HOUR, "send_in": -25 * AN_HOUR, "kind": MessageKind.REMINDER_1_DAY},
        RetryObstacle.TIME_PASSED,
        id="words no longer hold",
    ),
]


@pytest.mark.parametrize(("when", "obstacle"), TOO_LATE)
def test_a_retry_of_which_nothing_would_leave_is_refused_and_the_message_stays_failed(
    database: Database, when: dict[str, Any], obstacle: RetryObstacle
) -> None:
    messages, message = MessageRepo(database), failed_message(database, **when)
    with pytest.raises(MessageTooLate, match=f"{message.id} cannot be tried again: {obstacle}"):
        messages.retry_failed(message.id)
    assert end_settled(messages, [message.id]) == {}
    assert read_message(database, message.id) == message


@pytest.mark.parametrize(("when", "obstacle"), TOO_LATE)
def test_the_plan_of_a_day_says_so_too_and_opens_nothing(
    database: Database, when: dict[str, Any], obstacle: RetryObstacle
) -> None:
    message = failed_message(database, **when)
    assert message.send_at is not None
    plan = plan_retry(database, Days.containing(message.send_at, ZONE), ALL_RETRYABLE)
    assert [group.obstacle for group in plan.groups] == [obstacle]
    assert (plan.deliveries, plan.message_ids) == (0, [])
    assert retry(database, plan).reopened == {}


def test_what_became_too_late_after_the_plan_is_left_with_the_reason(database: Database) -> None:
    message = failed_message(database, starts_in=A_DAY, send_in=-AN_HOUR)
    assert message.send_at is not None
    plan = plan_retry(database, Days.containing(message.send_at, ZONE), ALL_RETRYABLE)
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET starts_at = now()")
    report = retry(database, plan)
    assert report.reopened == {}
    assert "its event has started" in report.left[message.id]


def test_a_thank_you_can_be_tried_again_after_the_event(database: Database) -> None:
    message = failed_message(database, starts_in=-A_DAY, send_in=-AN_HOUR)
    assert MessageRepo(database).retry_failed(message.id) == 2


def test_what_had_no_provider_to_go_through_can_be_tried_again_when_there_is_one(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    message = make_message(database, event, status=MessageStatus.FAILED, audience_frozen_at=database.now())
    guests = make_guests(database, event, 5)
    make_deliveries(database, message, guests[:3], status=DeliveryStatus.SKIPPED, reason="log_backend", provider="log")
    make_deliveries(database, message, guests[3:4], status=DeliveryStatus.SKIPPED, reason="guest_removed")
    make_deliveries(database, message, guests[4:], status=DeliveryStatus.FAILED, retryable=True, provider="smtp")

    assert messages.delivery_stats([message.id])[message.id].retryable == 4
    assert message.send_at is not None
    days = Days.containing(message.send_at, ZONE)
    assert plan_retry(database, days, ALL_RETRYABLE).deliveries == 4
    assert plan_retry(database, days, RetryFilter(providers=frozenset({"log"}))).deliveries == 3
    assert messages.retry_failed(message.id) == 4
    assert messages.delivery_stats([message.id])[message.id].by_status == {
        DeliveryStatus.PENDING: 4,
        DeliveryStatus.SKIPPED: 1,
    }
