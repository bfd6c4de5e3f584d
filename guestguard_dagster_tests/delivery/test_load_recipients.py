"""Who gets a message is decided once, when it starts to leave; whether they still may is asked when it leaves them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import UUID

import pytest

from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.load_recipients import load_recipients
from guestguard_dagster.delivery.mark_sent import mark_sent
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel, MessageStatus
from guestguard_dagster.domain.suppressions import for_host, for_sending_number
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster_tests.delivery.rows import delivery_of, outcomes_of
from guestguard_dagster_tests.delivery.steps import prepare, send
from guestguard_dagster_tests.factories import (
    make_event,
    make_guests,
    make_message,
    make_user,
    read_message,
    set_columns,
)
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.loopback.twilio import FROM_NUMBER, TwilioLoopback
from guestguard_dagster_tests.send_contexts import NEVER_QUIET, SendContextOpener, smtp_settings, twilio_settings


@pytest.mark.parametrize("audience", MessageAudience)
def test_a_message_reaches_the_guests_it_is_for(
    sending: SendContext, database: Database, mail_server: SmtpLoopback, audience: MessageAudience
) -> None:
    event = make_event(database)
    guests = [guest for rsvp in RsvpStatus for guest in make_guests(database, event, 2, rsvp_status=rsvp)]
    message = make_message(database, event, audience=audience)

    send(sending, [message.id])

    assert mail_server.recipients() == {
        guest.email: 1
        for guest in guests
        if audience is MessageAudience.EVERYONE or guest.rsvp_status.value == audience.value
    }


def test_a_guest_added_after_the_audience_was_frozen_gets_nothing(
    sending: SendContext, database: Database, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    [invited] = make_guests(database, event, 1)
    message = make_message(database, event)
    prepare(sending, [message.id])
    make_guests(database, event, 1)

    send(sending, [message.id])

    assert mail_server.recipients() == {invited.email: 1}
    assert read_message(database, message.id).recipient_count == 1


def test_a_message_for_nobody_is_sent_with_none(sending: SendContext, database: Database) -> None:
    message = make_message(database, make_event(database))
    send(sending, [message.id])
    sent = read_message(database, message.id)
    assert (sent.status, sent.status_reason, sent.recipient_count) == (MessageStatus.SENT, None, 0)


def test_two_runs_that_freeze_at_once_agree(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 30)
    message = make_message(database, event)
    contexts = [open_sending(smtp_settings(mail_server)) for _ in range(3)]
    contexts[0].messages.claim_for_sending([message.id])

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda sending: load_recipients(sending, [message.id]), contexts))

    assert [report.total for report in reports] == [30, 30, 30]
    send(contexts[0], [message.id])
    assert mail_server.recipients() == {guest.email: 1 for guest in guests}


class TestAtHandOff:
    """What has changed since the audience was frozen and checked."""

    def finish(self, sending: SendContext, message_id: UUID) -> None:
        dispatch(sending, [message_id], Event())
        mark_sent(sending, [message_id])

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"rsvp_status": RsvpStatus.DECLINED}, "not_in_audience"),
            ({"removed_at": "now"}, "guest_removed"),
            ({"email": None}, "no_address"),
            ({"email": ""}, "no_address"),
        ],
        ids=["answered since", "removed", "no address", "empty address"],
    )
    def test_a_guest_who_should_not_get_it_any_more_is_skipped(
        self,
        sending: SendContext,
        database: Database,
        mail_server: SmtpLoopback,
        change: dict[str, object],
        reason: str,
    ) -> None:
        event = make_event(database)
        changed, other = make_guests(database, event, 2, rsvp_status=RsvpStatus.PENDING)
        message = make_message(database, event, audience=MessageAudience.PENDING)
        prepare(sending, [message.id])
        set_columns(database, changed, **{k: database.now() if v == "now" else v for k, v in change.items()})

        self.finish(sending, message.id)

        assert mail_server.recipients() == {other.email: 1}
        row = delivery_of(database, message, changed)
        assert (row.status, row.reason) == ("skipped", reason)
        assert read_message(database, message.id).status is MessageStatus.SENT

    def test_a_new_address_is_written_to(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        [guest] = make_guests(database, event, 1)
        message = make_message(database, event)
        prepare(sending, [message.id])
        set_columns(database, guest, email="moved@example.com")
        self.finish(sending, message.id)
        assert mail_server.recipients() == {"moved@example.com": 1}

    def test_a_message_to_everyone_does_not_ask_who_has_answered(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        [guest] = make_guests(database, event, 1)
        message = make_message(database, event)
        prepare(sending, [message.id])
        set_columns(database, guest, rsvp_status=RsvpStatus.DECLINED)
        self.finish(sending, message.id)
        assert mail_server.recipients() == {guest.email: 1}

    @pytest.mark.parametrize(("survives", "outcome"), [(False, ("skipped", "event_cancelled")), (True, ("sent", None))])
    def test_of_an_event_cancelled_meanwhile_nothing_more_leaves(
        self, sending: SendContext, database: Database, survives: bool, outcome: tuple[str, str | None]
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 3)
        message = make_message(database, event, survives_event_cancel=survives)
        prepare(sending, [message.id])
        EventRepo(database).cancel(event.id)

        self.finish(sending, message.id)

        assert outcomes_of(database, message) == {outcome: 3}

    def test_of_an_event_that_has_started_meanwhile_nothing_more_leaves(
        self, sending: SendContext, database: Database
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 2)
        message = make_message(database, event)
        prepare(sending, [message.id])
        set_columns(database, event, starts_at=database.now())
        self.finish(sending, message.id)
        assert outcomes_of(database, message) == {("skipped", "event_started"): 2}


class TestSuppressions:
    def test_an_address_suppressed_for_every_host_gets_nothing(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        suppressed, other = make_guests(database, event, 2)
        assert suppressed.email is not None
        sending.suppressions.add(MessageChannel.EMAIL, suppressed.email.upper(), reason="complaint", source="resend")
        message = make_message(database, event)

        send(sending, [message.id])

        assert mail_server.recipients() == {other.email: 1}
        assert delivery_of(database, message, suppressed).status == "suppressed"

    def test_an_unsubscribe_covers_the_events_of_one_host(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        left, kept = make_user(database), make_user(database)
        messages = []
        for host in (left, kept):
            event = make_event(database, owner=host)
            make_guests(database, event, 1, email="guest@example.com")
            messages.append(make_message(database, event))
        sending.suppressions.add(
            MessageChannel.EMAIL, "guest@example.com", scope=for_host(left.id), reason="unsubscribe", source="guest"
        )

        send(sending, [message.id for message in messages])

        assert outcomes_of(database, messages[0]) == {("suppressed", "suppressed"): 1}
        assert outcomes_of(database, messages[1]) == {("sent", None): 1}
        assert mail_server.recipients() == {"guest@example.com": 1}

    def test_a_stop_covers_texts_from_one_number(
        self, open_sending: SendContextOpener, database: Database, text_server: TwilioLoopback
    ) -> None:
        sending = open_sending(twilio_settings(text_server))
        event = make_event(database, **NEVER_QUIET)
        [stopped] = make_guests(database, event, 1, phone="+491711234567")
        [elsewhere] = make_guests(database, event, 1, phone="+491711234568")
        for guest, number in ((stopped, FROM_NUMBER), (elsewhere, "+15005550007")):
            assert guest.phone is not None
            sending.suppressions.add(
                MessageChannel.SMS, guest.phone, scope=for_sending_number(number), reason="stop", source="twilio"
            )
        message = make_message(database, event, channel=MessageChannel.SMS)

        send(sending, [message.id])

        assert text_server.recipients() == {elsewhere.phone: 1}
        assert delivery_of(database, message, stopped).status == "suppressed"

    def test_a_suppression_of_one_channel_leaves_the_other(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        [guest] = make_guests(database, event, 1, phone="+491711234567")
        sending.suppressions.add(MessageChannel.SMS, "+491711234567", reason="stop", source="twilio")
        message = make_message(database, event)
        send(sending, [message.id])
        assert mail_server.recipients() == {guest.email: 1}

    def test_it_counts_when_it_comes_between_the_check_and_the_hand_off(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        [guest] = make_guests(database, event, 1)
        message = make_message(database, event)
        prepare(sending, [message.id])
        assert guest.email is not None
        sending.suppressions.add(MessageChannel.EMAIL, guest.email, reason="complaint", source="resend")
        dispatch(sending, [message.id], Event())
        assert mail_server.accepted == []


class TestAddresses:
    def test_guests_who_share_an_address_each_get_their_mail(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        pair = make_guests(database, event, 2, email="couple@example.com")
        message = make_message(database, event)
        send(sending, [message.id])
        assert mail_server.recipients() == {"couple@example.com": 2}
        for guest in pair:
            assert (
                sum(guest.rsvp_token.encode() in mail.content.replace(b"=\r\n", b"") for mail in mail_server.accepted)
                == 1
            )

    def test_a_number_is_read_in_the_events_region(
        self, open_sending: SendContextOpener, database: Database, text_server: TwilioLoopback
    ) -> None:
        sending = open_sending(twilio_settings(text_server))
        event = make_event(database, phone_region="DE", **NEVER_QUIET)
        make_guests(database, event, 1, phone="0171 1234567")
        [unreadable] = make_guests(database, event, 1, phone="ask my brother")
        message = make_message(database, event, channel=MessageChannel.SMS)
        send(sending, [message.id])
        assert text_server.recipients() == {"+491711234567": 1}
        assert delivery_of(database, message, unreadable).reason == "no_address"

    def test_an_address_that_is_none_fails_alone_and_for_good(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        [broken] = make_guests(database, event, 1, email="not an address")
        [other] = make_guests(database, event, 1)
        message = make_message(database, event)
        send(sending, [message.id])
        assert mail_server.recipients() == {other.email: 1}
        row = delivery_of(database, message, broken)
        assert (row.status, row.retryable, row.error_class) == ("failed", False, "invalid_address")
