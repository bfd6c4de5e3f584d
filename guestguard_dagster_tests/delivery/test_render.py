"""Before anything leaves, everything is rendered: a broken message fails alone, and so does a broken recipient."""

from threading import Event

from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.load_recipients import load_recipients
from guestguard_dagster.delivery.mark_sent import mark_sent
from guestguard_dagster.delivery.render import render
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import MessageChannel, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.delivery.rows import delivery_of, outcomes_of
from guestguard_dagster_tests.delivery.steps import send
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message, set_columns
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.loopback.twilio import TwilioLoopback
from guestguard_dagster_tests.send_contexts import NEVER_QUIET, SendContextOpener, twilio_settings


def a_text_of(letters: int) -> str:
    return "x" * letters


def test_a_broken_message_fails_whole_while_another_of_its_run_leaves(
    sending: SendContext, database: Database, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 3)
    broken = make_message(database, event, body="Hi {{guest_name}} {{ guest.password }}")
    sound = make_message(database, event, subject="A sound one")

    send(sending, [broken.id, sound.id])

    ended = read_message(database, broken.id)
    assert ended.status is MessageStatus.FAILED
    assert ended.status_reason is not None
    assert ended.status_reason.startswith("template refused: body, line 1")
    assert [status for status, _ in outcomes_of(database, broken)] == ["failed"]
    assert read_message(database, sound.id).status is MessageStatus.SENT
    assert mail_server.recipients() == {guest.email: 1 for guest in guests}
    assert all(b"A sound one" in mail.content for mail in mail_server.accepted)


def test_the_failed_rows_of_a_broken_message_are_not_retryable(sending: SendContext, database: Database) -> None:
    event = make_event(database)
    make_guests(database, event, 2)
    broken = make_message(database, event, body="{% if %}")

    send(sending, [broken.id])

    assert sending.messages.retry_failed(broken.id) == 0
    assert read_message(database, broken.id).status is MessageStatus.FAILED


def test_a_recipient_whose_text_is_too_long_fails_alone(
    open_sending: SendContextOpener, database: Database, text_server: TwilioLoopback
) -> None:
    # 10 segments carry 670 characters once a name needs UCS-2, and 1530 as long as all are in GSM-7.
    sending = open_sending(twilio_settings(text_server))
    event = make_event(database, **NEVER_QUIET)
    [plain] = make_guests(database, event, phone="+491711234567")
    [wide] = make_guests(database, event, phone="+491711234568", name="Žofie")
    message = make_message(
        database, event, channel=MessageChannel.SMS, body="{{guest_name}}, " + a_text_of(900), subject=""
    )

    send(sending, [message.id])

    assert text_server.recipients() == {plain.phone: 1}
    refused = delivery_of(database, message, wide)
    assert (refused.status, refused.retryable) == ("failed", False)
    assert "segments" in refused.reason
    assert read_message(database, message.id).status is MessageStatus.SENT


def test_what_breaks_between_preflight_and_hand_off_fails_its_message_and_no_other(
    open_sending: SendContextOpener, database: Database, text_server: TwilioLoopback
) -> None:
    sending = open_sending(twilio_settings(text_server))
    grown, other = make_event(database, **NEVER_QUIET), make_event(database, **NEVER_QUIET)
    make_guests(database, grown, 2, phone="+491711234567")
    make_guests(database, other, 1, phone="+491711234568")
    growing = make_message(database, grown, channel=MessageChannel.SMS, body="{{venue}} " + a_text_of(900))
    sound = make_message(database, other, channel=MessageChannel.SMS, body="See you")
    sending.messages.claim_for_sending([growing.id, sound.id])
    load_recipients(sending, [growing.id, sound.id])
    report = render(sending, [growing.id, sound.id])
    assert report.fit == 3

    set_columns(database, grown, venue="Ž" * 200, updated_at=database.now())
    dispatch(sending, [growing.id, sound.id], Event())
    mark_sent(sending, [growing.id, sound.id])

    assert read_message(database, growing.id).status is MessageStatus.FAILED
    assert read_message(database, sound.id).status is MessageStatus.SENT
    assert text_server.recipients() == {"+491711234568": 1}
