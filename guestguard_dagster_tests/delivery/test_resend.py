"""Through Resend: whatever becomes of an answer, the very same request is repeated, and nobody gets two mails."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import Message, MessageAudience, MessageChannel, MessageStatus
from guestguard_dagster.senders.log import LogSender
from guestguard_dagster.senders.picker import Senders
from guestguard_dagster.senders.resend.sdk import ResendAccount
from guestguard_dagster.senders.resend.sending import ResendSender
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.tables.deliveries import delivery_batches
from guestguard_dagster_tests.crash.passing_time import (
    let_a_day_pass_over_batches,
    let_leases_run_out,
    let_waits_pass,
)
from guestguard_dagster_tests.delivery.rows import attempts_of, deliveries_of, outcomes_of, statuses_of
from guestguard_dagster_tests.delivery.steps import send
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message, set_columns
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.resend import API_KEY, ResendLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener, resend_settings

BATCH = "/emails/batch"
FROM = "events@guestguard.example"

pytestmark = pytest.mark.usefixtures("hasty")


@pytest.fixture
def sending(resend_sending: SendContext) -> SendContext:
    return resend_sending


def a_message(database: Database, recipients: int = 3) -> Message:
    event = make_event(database)
    make_guests(database, event, recipients)
    return make_message(database, event)


def answer_badly(server: ResendLoopback, do: FaultKind, *, status: int = 500, name: str = "", **more: object) -> None:
    reply = json.dumps({"statusCode": status, "name": name, "message": "of the test"}) if name else "<html>502</html>"
    headers = {"content-type": "application/json" if name else "text/html"}
    values = {"at": BATCH, "do": do, "status": status, "reply": reply, "headers": headers, **more}
    server.faults.add(Fault.model_validate(values))


def send_again(sending: SendContext, message: Message) -> None:
    """The next run, when what waits has waited long enough."""
    let_waits_pass(sending.database)
    send(sending, [message.id])


def batches(database: Database) -> list[str]:
    """The keys of all batches, in the order in which they were formed."""
    with database.transaction() as connection:
        keys = connection.execute(select(delivery_batches.c.key).order_by(delivery_batches.c.id)).scalars()
        return [str(key) for key in keys]


def everybody_has_one_mail(server: ResendLoopback, recipients: int) -> bool:
    return set(server.recipients().values()) == {1} and len(server.recipients()) == recipients


class TestBatches:
    def test_a_message_leaves_in_batches_of_a_hundred(
        self, sending: SendContext, database: Database, resend: ResendLoopback
    ) -> None:
        message = a_message(database, 230)
        send(sending, [message.id])
        assert [len(json.loads(request.body)) for request in resend.requests] == [100, 100, 30]
        assert everybody_has_one_mail(resend, 230)
        assert statuses_of(database, message) == {"sent": 230}
        assert read_message(database, message.id).status is MessageStatus.SENT

    def test_batches_that_grow_old_while_the_provider_thinks_are_composed_anew_and_leave(
        self, sending: SendContext, database: Database, resend: ResendLoopback
    ) -> None:
        resend.processing_seconds = 0.2
        message = a_message(database, 500)
        send(replace(sending, pace=replace(sending.pace, facts_hold=timedelta(milliseconds=100))), [message.id])
        assert everybody_has_one_mail(resend, 500)
        assert len(resend.requests) == 5

    def test_a_request_carries_one_message_alone(
        self, sending: SendContext, database: Database, resend: ResendLoopback
    ) -> None:
        messages = [a_message(database, 10) for _ in range(4)]
        send(sending, [message.id for message in messages])
        assert len(resend.requests) == 4
        assert all(statuses_of(database, message) == {"sent": 10} for message in messages)

    def test_each_mail_names_its_delivery_and_its_row_knows_the_providers_id(
        self, sending: SendContext, database: Database, resend: ResendLoopback
    ) -> None:
        message = a_message(database, 3)
        send(sending, [message.id])
        by_delivery = {int(email.tags["delivery_id"]): email.id for email in resend.accepted}
        assert by_delivery == {row.id: row.provider_message_id for row in deliveries_of(database, message)}

    def test_the_request_is_written_down_before_it_leaves_and_closed_when_it_is_answered(
        self, sending: SendContext, database: Database, resend: ResendLoopback
    ) -> None:
        message = a_message(database, 3)
        send(sending, [message.id])
        with database.transaction() as connection:
            batch = connection.execute(select(delivery_batches)).one()
        assert resend.requests[0].headers["idempotency-key"] == str(batch.key)
        assert batch.members == [row.id for row in deliveries_of(database, message)]
        assert batch.state == "done"

    def test_one_refused_recipient_fails_alone(
        self, sending: SendContext, database: Database, resend: ResendLoopback
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 2)
        # An address by our rules, and none by Resend's.
        make_guests(database, event, 1, email="guest@localhost")
        message = make_message(database, event)
        send(sending, [message.id])
        assert statuses_of(database, message) == {"sent": 2, "failed": 1}
        assert everybody_has_one_mail(resend, 2)


class TestALostAnswer:
    @pytest.mark.parametrize(
        "lose",
        [
            lambda server: answer_badly(server, FaultKind.TAKE_THEN_DROP),
            lambda server: answer_badly(server, FaultKind.TAKE_THEN_RESET),
            lambda server: answer_badly(server, FaultKind.TAKE_THEN_REPLY, status=502),
            lambda server: answer_badly(server, FaultKind.TAKE_THEN_REPLY, status=500, name="internal_server_error"),
            lambda server: answer_badly(server, FaultKind.TAKE_THEN_REPLY, status=200),
            lambda server: answer_badly(server, FaultKind.DROP),
        ],
        ids=["dropped", "reset", "bad gateway", "server error", "unreadable", "dropped before it was taken"],
    )
    def test_the_same_request_is_repeated_and_nobody_gets_two(
        self, sending: SendContext, database: Database, resend: ResendLoopback, lose: object
    ) -> None:
        lose(resend)  # type: ignore[operator]
        message = a_message(database, 3)

        send(sending, [message.id])
        assert outcomes_of(database, message) == {("sending", "answer_lost"): 3}
        assert read_message(database, message.id).status is MessageStatus.SENDING
        before = len(resend.requests)
        send(sending, [message.id])
        assert len(resend.requests) == before, "it is not repeated before its wait is over"
        send_again(sending, message)

        assert len({(request.body, request.headers["idempotency-key"]) for request in resend.requests}) == 1
        assert everybody_has_one_mail(resend, 3)
        assert statuses_of(database, message) == {"sent": 3}
        assert read_message(database, message.id).status is MessageStatus.SENT
        for row in deliveries_of(database, message):
            assert [attempt.outcome for attempt in attempts_of(database, row.id)] == ["unknown", "sent"]

    def test_a_provider_that_falls_silent_is_asked_again(
        self, open_sending: SendContextOpener, database: Database, resend: ResendLoopback
    ) -> None:
        account = ResendAccount(API_KEY, resend.url, timeouts=(5, 0.3))
        sender = ResendSender(account, FROM, requests_per_second=1000)
        sending = open_sending(senders=Senders(sender, LogSender(MessageChannel.SMS)))
        answer_badly(resend, FaultKind.TAKE_THEN_HANG)
        message = a_message(database, 3)
        send(sending, [message.id])
        assert outcomes_of(database, message) == {("sending", "answer_lost"): 3}
        send_again(sending, message)
        assert statuses_of(database, message) == {"sent": 3}
        assert everybody_has_one_mail(resend, 3)

    def test_a_repeat_is_not_re_checked(self, sending: SendContext, database: Database, resend: ResendLoopback) -> None:
        event = make_event(database)
        [guest] = make_guests(database, event, 1)
        message = make_message(database, event, audience=MessageAudience.ATTENDING)
        answer_badly(resend, FaultKind.TAKE_THEN_DROP)
        send(sending, [message.id])
        set_columns(database, guest, rsvp_status=RsvpStatus.DECLINED, email="another@example.com")
        send_again(sending, message)
        assert statuses_of(database, message) == {"sent": 1}
        assert resend.recipients() == {guest.email: 1}

    def test_another_message_of_the_run_is_not_held_up(
        self, sending: SendContext, database: Database, resend: ResendLoopback
    ) -> None:
        messages = [a_message(database, 5) for _ in range(2)]
        answer_badly(resend, FaultKind.TAKE_THEN_DROP)
        send(sending, [message.id for message in messages])
        outcomes = sorted(str(dict(statuses_of(database, message))) for message in messages)
        assert outcomes == ["{'sending': 5}", "{'sent': 5}"]

    def test_a_run_that_died_before_it_could_read_the_answer_is_made_up_for(
        self, open_sending: SendContextOpener, database: Database, resend: ResendLoopback
    ) -> None:
        message = a_message(database, 5)
        dead = open_sending(resend_settings(resend))
        answer_badly(resend, FaultKind.TAKE_THEN_DROP)
        send(dead, [message.id])
        # As the dead run left them: leased still, and nothing written down.
        with database.transaction() as connection:
            connection.execute(text("DELETE FROM delivery_attempts"))
            connection.execute(
                text(
                    "UPDATE delivery_batches SET lease_token = gen_random_uuid(), "
                    "lease_expires_at = clock_timestamp() + interval '1 minute'"
                )
            )
            connection.execute(text("UPDATE message_deliveries SET reason = NULL, attempts = 0"))
        alive = open_sending(resend_settings(resend))
        send(alive, [message.id])
        assert len(resend.requests) == 1
        let_leases_run_out(database)
        send(alive, [message.id])
        assert statuses_of(database, message) == {"sent": 5}
        assert everybody_has_one_mail(resend, 5)


class TestWhatARepeatBrings:
    @pytest.fixture
    def message(self, sending: SendContext, database: Database, resend: ResendLoopback) -> Message:
        """Its answer is lost; Resend has its mails."""
        message = a_message(database, 3)
        answer_badly(resend, FaultKind.TAKE_THEN_DROP)
        send(sending, [message.id])
        return message

    @pytest.mark.parametrize(
        ("status", "name"),
        [
            (409, "concurrent_idempotent_requests"),
            (429, "rate_limit_exceeded"),
            (429, "daily_quota_exceeded"),
            (403, "invalid_api_key"),
            (500, "application_error"),
        ],
    )
    def test_to_be_turned_away_says_nothing_about_the_first_time(
        self, sending: SendContext, database: Database, resend: ResendLoopback, message: Message, status: int, name: str
    ) -> None:
        answer_badly(resend, FaultKind.REPLY, status=status, name=name)
        send_again(sending, message)
        assert outcomes_of(database, message) == {("sending", "answer_lost"): 3}

        send_again(sending, message)
        assert statuses_of(database, message) == {"sent": 3}
        assert everybody_has_one_mail(resend, 3)
        assert len({(request.body, request.headers["idempotency-key"]) for request in resend.requests}) == 1

    def test_a_key_that_the_provider_knows_for_another_request_is_unknown(
        self, sending: SendContext, database: Database, resend: ResendLoopback, message: Message
    ) -> None:
        answer_badly(resend, FaultKind.REPLY, status=409, name="invalid_idempotent_request")
        send_again(sending, message)
        assert outcomes_of(database, message) == {("unknown", "answer_lost"): 3}
        assert read_message(database, message.id).status is MessageStatus.SENT

    def test_after_23_hours_it_is_not_repeated_but_unknown(
        self, sending: SendContext, database: Database, resend: ResendLoopback, message: Message
    ) -> None:
        let_a_day_pass_over_batches(database)
        resend.move_clock(timedelta(days=1).total_seconds())
        send_again(sending, message)
        assert outcomes_of(database, message) == {("unknown", "hand_off_interrupted"): 3}
        assert len(resend.requests) == 1
        assert read_message(database, message.id).status is MessageStatus.SENT

    def test_with_another_key_it_is_not_repeated_but_unknown(
        self, open_sending: SendContextOpener, database: Database, message: Message
    ) -> None:
        with ResendLoopback(api_key="re_another_key") as other_account:
            sending = open_sending(resend_settings(other_account, resend_api_key="re_another_key"))
            send_again(sending, message)
            assert other_account.requests == []
        assert outcomes_of(database, message) == {("unknown", "hand_off_interrupted"): 3}

    def test_while_the_account_takes_nothing_it_waits(
        self, sending: SendContext, database: Database, resend: ResendLoopback, message: Message
    ) -> None:
        sending.breakers.open(sending.senders.email.account, reason="resend takes nothing")
        send(sending, [message.id])
        assert len(resend.requests) == 1
        assert outcomes_of(database, message) == {("sending", "answer_lost"): 3}
        assert read_message(database, message.id).waiting_reason == "resend takes nothing"

    def test_while_the_message_is_stopped_it_waits(
        self, sending: SendContext, database: Database, resend: ResendLoopback, message: Message
    ) -> None:
        sending.messages.hold([message.id], reason="stopped")
        send_again(sending, message)
        assert len(resend.requests) == 1
        sending.messages.resume(message.id)
        send(sending, [message.id])
        assert statuses_of(database, message) == {"sent": 3}

    def test_a_callback_that_came_first_is_kept(
        self, sending: SendContext, database: Database, resend: ResendLoopback, message: Message
    ) -> None:
        first, *_ = deliveries_of(database, message)
        set_columns(database, first.id, status="delivered")
        send_again(sending, message)
        assert statuses_of(database, message) == {"delivered": 1, "sent": 2}
        assert everybody_has_one_mail(resend, 3)


class TestRefusals:
    def test_what_was_turned_away_leaves_under_a_new_key_later(
        self, sending: SendContext, database: Database, resend: ResendLoopback
    ) -> None:
        answer_badly(resend, FaultKind.REPLY, status=429, name="rate_limit_exceeded")
        message = a_message(database, 3)
        send(sending, [message.id])
        refused, *_ = batches(database)
        send_again(sending, message)
        assert statuses_of(database, message) == {"sent": 3}
        assert refused not in {request.headers["idempotency-key"] for request in resend.requests}
        assert everybody_has_one_mail(resend, 3)

    @pytest.mark.parametrize(
        ("status", "name"), [(403, "invalid_api_key"), (429, "monthly_quota_exceeded"), (403, "validation_error")]
    )
    def test_what_is_wrong_with_the_account_opens_its_breaker(
        self, sending: SendContext, database: Database, resend: ResendLoopback, status: int, name: str
    ) -> None:
        answer_badly(resend, FaultKind.REPLY, status=status, name=name, times=None)
        message = a_message(database, 120)
        send(sending, [message.id])
        assert sending.breakers.get(sending.senders.email.account) is not None
        assert statuses_of(database, message) == {"pending": 120}
        rows = deliveries_of(database, message)
        assert {row.attempts for row in rows} == {0}
        assert sum(len(attempts_of(database, row.id)) for row in rows) == 100, "one batch tried it for all"
