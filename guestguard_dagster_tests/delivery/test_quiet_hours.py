"""Messages and quiet hours. The event's zone is chosen so that it is night, or day, at the event right now."""

from datetime import time, timedelta
from threading import Event as Stop
from zoneinfo import ZoneInfo

from guestguard_dagster.delivery.claim import claim
from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.run_requests import request_runs
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import MessageKind, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.delivery.steps import send
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message, set_columns
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback

_NOW_UNTIL = timedelta(hours=3)


def quiet_event(database: Database, *, starts_in: timedelta = timedelta(days=2)) -> Event:
    """An event at which no mail is to arrive from an hour ago until three hours from now."""
    now = database.now()
    return make_event(
        database,
        timezone="UTC",
        starts_in=starts_in,
        email_quiet_from=(now - timedelta(hours=1)).time(),
        email_quiet_until=(now + _NOW_UNTIL).time(),
    )


def test_a_message_due_in_quiet_hours_waits_for_their_end(
    sending: SendContext, database: Database, mail_server: SmtpLoopback
) -> None:
    event = quiet_event(database)
    make_guests(database, event, 2)
    message = make_message(database, event)

    send(sending, [message.id])

    waiting = read_message(database, message.id)
    assert not mail_server.accepted
    assert waiting.status is MessageStatus.SCHEDULED
    assert waiting.not_before is not None
    assert waiting.not_before - database.now() > _NOW_UNTIL - timedelta(minutes=1)
    assert waiting.waiting_reason is not None
    assert waiting.waiting_reason.startswith("quiet hours until ")
    assert not request_runs(sending.messages, sending.run_requests, {}, most=10)


def test_a_message_that_quiet_hours_keep_beyond_the_start_expires(sending: SendContext, database: Database) -> None:
    event = quiet_event(database, starts_in=_NOW_UNTIL - timedelta(hours=1))
    message = make_message(database, event)

    report = claim(sending, [message.id], Stop())

    expired = read_message(database, message.id)
    assert report.expired == (message.id,)
    assert (expired.status, expired.status_reason) == (MessageStatus.CANCELLED, "event_started")


def test_a_reminder_that_quiet_hours_keep_until_its_words_no_longer_hold_is_cancelled(
    sending: SendContext, database: Database
) -> None:
    """It is ten in the evening at the event, and quiet until one."""
    now = database.now()
    ahead_of_utc = (22 - now.hour + 11) % 24 - 11
    zone = f"Etc/GMT{-ahead_of_utc:+d}"
    here = now.astimezone(ZoneInfo(zone))
    event = make_event(
        database,
        timezone=zone,
        email_quiet_from=(here - timedelta(hours=1)).time(),
        email_quiet_until=(here + _NOW_UNTIL).time(),
    )
    reminder = make_message(database, event, kind=MessageKind.REMINDER_7_DAY)
    broadcast = make_message(database, event)

    report = claim(sending, [reminder.id, broadcast.id], Stop())

    expired = read_message(database, reminder.id)
    assert report.expired == (reminder.id,)
    assert (expired.status, expired.status_reason) == (MessageStatus.CANCELLED, "time_passed")
    assert read_message(database, broadcast.id).waiting_reason is not None


def test_quiet_hours_that_begin_while_a_message_leaves_stop_it(
    sending: SendContext, database: Database, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    make_guests(database, event, 2)
    message = make_message(database, event)
    claim(sending, [message.id], Stop())
    night = quiet_event(database)
    set_columns(
        database,
        event,
        timezone="UTC",
        email_quiet_from=night.email_quiet_from,
        email_quiet_until=night.email_quiet_until,
    )

    report = dispatch(sending, [message.id], Stop())

    stopped = read_message(database, message.id)
    assert not mail_server.accepted
    assert stopped.status is MessageStatus.SENDING
    assert stopped.not_before is not None
    assert list(report.deferred) == [stopped.waiting_reason]

    set_columns(database, event, email_quiet_from=None, email_quiet_until=None)
    send(sending, [message.id])
    assert sum(mail_server.recipients().values()) == 2


def test_the_message_leaves_when_no_quiet_hours_are_set(
    sending: SendContext, database: Database, mail_server: SmtpLoopback
) -> None:
    event = make_event(database, email_quiet_from=time(0), email_quiet_until=time(0))
    make_guests(database, event, 1)
    send(sending, [make_message(database, event).id])
    assert len(mail_server.accepted) == 1
