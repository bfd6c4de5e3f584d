"""Any number of processes work on one message: each guest exactly once, whoever holds the rows."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Event

import pytest

from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.delivery.settling import TRIED_FOR
from guestguard_dagster.domain.events import Guest, RsvpStatus
from guestguard_dagster.domain.messages import Message, MessageAudience, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out, let_waits_pass
from guestguard_dagster_tests.delivery.rows import attempts_of, batches_of, deliveries_of, outcomes_of, statuses_of
from guestguard_dagster_tests.delivery.steps import prepare, send
from guestguard_dagster_tests.delivery.watched import WatchedSmtp, once
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message, set_columns
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.resend import ResendLoopback
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener, resend_settings, smtp_settings


def a_message(database: Database, recipients: int) -> Message:
    event = make_event(database)
    make_guests(database, event, recipients)
    return make_message(database, event)


def send_together(contexts: list[SendContext], message: Message) -> None:
    with ThreadPoolExecutor(len(contexts)) as pool:
        list(pool.map(lambda sending: send(sending, [message.id]), contexts))


def test_two_processes_send_one_message_to_each_guest_once(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
) -> None:
    message = a_message(database, 500)
    both_hold_a_group = Barrier(2)
    contexts = []
    for _ in range(2):
        watched = WatchedSmtp(mail_server)
        watched.before = once(both_hold_a_group.wait)
        contexts.append(open_sending(senders=watched.senders()))

    send_together(contexts, message)

    assert statuses_of(database, message) == {"sent": 500}
    assert set(mail_server.recipients().values()) == {1}
    assert len(mail_server.accepted) == 500
    workers = {attempts_of(database, row.id)[0].run_id for row in deliveries_of(database, message)}
    assert workers == {sending.run_id for sending in contexts}, "both took part"
    assert read_message(database, message.id).status is MessageStatus.SENT


def test_two_processes_share_a_message_through_resend_too(
    open_sending: SendContextOpener, database: Database, resend: ResendLoopback
) -> None:
    open_sending.pace = replace(open_sending.pace, first_backoff=timedelta(milliseconds=300))
    resend.faults.add(Fault(at="/emails/batch", do=FaultKind.TAKE_THEN_DROP, times=2))
    message = a_message(database, 500)
    contexts = [open_sending(resend_settings(resend)) for _ in range(2)]
    send_together(contexts, message)
    assert statuses_of(database, message) == {"sent": 500}
    assert set(resend.recipients().values()) == {1}
    assert len(resend.accepted) == 500


class TestALeaseThatRanOut:
    @pytest.fixture
    def watched(self, mail_server: SmtpLoopback) -> WatchedSmtp:
        return WatchedSmtp(mail_server)

    @pytest.fixture
    def slow(self, open_sending: SendContextOpener, watched: WatchedSmtp) -> SendContext:
        return open_sending(senders=watched.senders())

    @pytest.fixture
    def quick(self, open_sending: SendContextOpener, mail_server: SmtpLoopback) -> SendContext:
        return open_sending(smtp_settings(mail_server))

    def test_before_the_rows_are_marked_nothing_leaves_and_they_are_free(
        self, slow: SendContext, database: Database, watched: WatchedSmtp, mail_server: SmtpLoopback
    ) -> None:
        message = a_message(database, 3)
        steps: list[str] = []
        lose_the_lease = once(lambda: let_leases_run_out(database))

        def prepared() -> None:
            steps.append("prepared")
            lose_the_lease()

        watched.prepared = prepared
        watched.before = lambda: steps.append("handed off")
        send(slow, [message.id])
        assert steps == ["prepared", "prepared", "handed off"], "the rows leave with the next lease"
        assert len(mail_server.accepted) == 3
        assert statuses_of(database, message) == {"sent": 3}
        assert [len(attempts_of(database, row.id)) for row in deliveries_of(database, message)] == [1, 1, 1]

    def test_a_group_taken_over_before_it_was_marked_is_sent_by_the_other_alone(
        self, slow: SendContext, quick: SendContext, database: Database, watched: WatchedSmtp, mail_server: SmtpLoopback
    ) -> None:
        message = a_message(database, 5)

        def be_overtaken() -> None:
            let_leases_run_out(database)
            send(quick, [message.id])

        watched.prepared = once(be_overtaken)
        send(slow, [message.id])

        assert len(mail_server.accepted) == 5
        assert set(mail_server.recipients().values()) == {1}
        assert {attempts_of(database, row.id)[0].run_id for row in deliveries_of(database, message)} == {quick.run_id}

    def test_rows_called_unknown_meanwhile_are_sent_when_the_proof_comes(
        self, slow: SendContext, quick: SendContext, database: Database, watched: WatchedSmtp, mail_server: SmtpLoopback
    ) -> None:
        message = a_message(database, 5)

        def be_given_up() -> None:
            let_leases_run_out(database)
            send(quick, [message.id])
            assert outcomes_of(database, message) == {("unknown", "hand_off_interrupted"): 5}

        watched.after = once(be_given_up)
        send(slow, [message.id])

        assert statuses_of(database, message) == {"sent": 5}
        assert len(mail_server.accepted) == 5

    def test_a_refusal_that_comes_late_is_believed_too(
        self, slow: SendContext, quick: SendContext, database: Database, watched: WatchedSmtp, mail_server: SmtpLoopback
    ) -> None:
        mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.2.1 disabled"))
        message = a_message(database, 1)

        def be_given_up() -> None:
            let_leases_run_out(database)
            send(quick, [message.id])

        watched.after = once(be_given_up)
        send(slow, [message.id])
        assert outcomes_of(database, message) == {("failed", "refused"): 1}


def test_a_run_that_is_stopped_ends_its_group_and_leaves_the_rest(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
) -> None:
    watched = WatchedSmtp(mail_server)
    sending = open_sending(senders=watched.senders())
    message = a_message(database, 240)
    prepare(sending, [message.id])
    sending.run_requests.take([message.id])
    stop = Event()
    watched.after = stop.set

    dispatch(sending, [message.id], stop)

    assert statuses_of(database, message) == {"sent": 100, "pending": 140}
    assert len(mail_server.accepted) == 100
    assert [ask.message_id for ask in sending.run_requests.take([message.id])] == [message.id], (
        "the next tick asks at once"
    )
    watched.after = lambda: None
    send(sending, [message.id])
    assert set(mail_server.recipients().values()) == {1}
    assert len(mail_server.accepted) == 240


def test_a_run_stopped_within_a_group_hands_off_no_more_of_it(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
) -> None:
    watched = WatchedSmtp(mail_server)
    sending = open_sending(senders=watched.senders())
    message = a_message(database, 10)
    prepare(sending, [message.id])
    stop = Event()
    watched.before = stop.set
    dispatch(sending, [message.id], stop)
    assert mail_server.accepted == []
    assert outcomes_of(database, message) == {("pending", None): 10}
    assert {row.attempts for row in deliveries_of(database, message)} == {0}


class TestHolding:
    """A host, or an operator who terminates the run, stops a message in the middle."""

    def stopped_after_one_group(self, sending: SendContext, watched: WatchedSmtp, message: Message) -> None:
        watched.after = once(lambda: sending.messages.hold([message.id], reason="stopped"))
        send(sending, [message.id])

    def test_the_rest_stays_pending_and_leaves_once_when_it_is_resumed(
        self, open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
    ) -> None:
        watched = WatchedSmtp(mail_server)
        sending = open_sending(senders=watched.senders())
        message = a_message(database, 240)

        self.stopped_after_one_group(sending, watched, message)

        assert statuses_of(database, message) == {"sent": 100, "pending": 140}
        assert {batch.lease_token for batch in batches_of(database, message)} == {None}, "none waits for a lease"
        assert read_message(database, message.id).status is MessageStatus.SENDING
        send(sending, [message.id])
        assert len(mail_server.accepted) == 100

        sending.messages.resume(message.id)
        send(sending, [message.id])
        assert statuses_of(database, message) == {"sent": 240}
        assert set(mail_server.recipients().values()) == {1}
        assert read_message(database, message.id).status is MessageStatus.SENT

    def test_another_message_of_the_run_goes_on(
        self, open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback
    ) -> None:
        watched = WatchedSmtp(mail_server)
        sending = open_sending(senders=watched.senders())
        stopped, other = a_message(database, 200), a_message(database, 200)
        watched.after = once(lambda: sending.messages.hold([stopped.id], reason="stopped"))
        send(sending, [stopped.id, other.id])
        assert statuses_of(database, other) == {"sent": 200}
        assert statuses_of(database, stopped)["pending"] >= 100


class TestOverlap:
    """The next group is composed while one is under way: what has changed by its turn still counts."""

    @pytest.fixture
    def watched(self, mail_server: SmtpLoopback) -> WatchedSmtp:
        watched = WatchedSmtp(mail_server)
        watched.overlaps = True
        return watched

    def when_the_second_group_is_composed(self, watched: WatchedSmtp, act: Callable[[], object]) -> None:
        composed, groups = Event(), iter(range(1, 100))
        watched.prepared = lambda: composed.set() if next(groups) == 2 else None
        watched.before = once(lambda: composed.wait(30))
        watched.after = once(act)

    def in_order_of_leaving(self, sending: SendContext, message: Message, people: Sequence[Guest]) -> list[Guest]:
        prepare(sending, [message.id])
        by_id = {guest.id: guest for guest in people}
        return [by_id[row.guest_id] for row in sorted(deliveries_of(sending.database, message), key=lambda row: row.id)]

    def test_a_group_is_composed_while_another_is_under_way(
        self, open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback, watched: WatchedSmtp
    ) -> None:
        seen: list[int] = []
        self.when_the_second_group_is_composed(watched, lambda: seen.append(len(mail_server.accepted)))
        message = a_message(database, 240)
        send(open_sending(senders=watched.senders()), [message.id])
        assert seen == [100]
        assert statuses_of(database, message) == {"sent": 240}
        assert set(mail_server.recipients().values()) == {1}

    def test_a_message_that_is_stopped_meanwhile_does_not_leave(
        self, open_sending: SendContextOpener, database: Database, watched: WatchedSmtp
    ) -> None:
        message = a_message(database, 240)
        sending = open_sending(senders=watched.senders())
        self.when_the_second_group_is_composed(watched, lambda: sending.messages.hold([message.id], reason="stopped"))
        send(sending, [message.id])
        assert statuses_of(database, message) == {"sent": 100, "pending": 140}
        assert {batch.lease_token for batch in batches_of(database, message)} == {None}

    def test_guests_who_answer_or_are_removed_meanwhile_get_nothing(
        self, open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback, watched: WatchedSmtp
    ) -> None:
        event = make_event(database)
        people = make_guests(database, event, 200, rsvp_status=RsvpStatus.PENDING)
        message = make_message(database, event, audience=MessageAudience.PENDING)
        sending = open_sending(senders=watched.senders())
        *_, answers, removed = self.in_order_of_leaving(sending, message, people)

        def change() -> None:
            set_columns(database, answers, rsvp_status="attending")
            set_columns(database, removed, removed_at=database.now())

        self.when_the_second_group_is_composed(watched, change)
        send(sending, [message.id])
        assert statuses_of(database, message) == {"sent": 198, "skipped": 2}
        assert not {answers.email, removed.email} & mail_server.recipients().keys()

    def test_an_event_that_is_cancelled_meanwhile_sends_nothing_more(
        self, open_sending: SendContextOpener, database: Database, watched: WatchedSmtp
    ) -> None:
        event = make_event(database)
        make_guests(database, event, 200)
        message = make_message(database, event)
        self.when_the_second_group_is_composed(
            watched, lambda: set_columns(database, event, cancelled_at=database.now())
        )
        send(open_sending(senders=watched.senders()), [message.id])
        assert statuses_of(database, message) == {"sent": 100, "skipped": 100}

    def test_an_address_that_the_group_before_proved_dead_is_not_written_to_again(
        self, open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback, watched: WatchedSmtp
    ) -> None:
        event = make_event(database)
        people = make_guests(database, event, 101)
        message = make_message(database, event)
        sending = open_sending(senders=watched.senders())
        dead, *_, twin = self.in_order_of_leaving(sending, message, people)
        set_columns(database, twin, email=dead.email)
        refusal = Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.1.1 no such user", only_for=dead.email)
        mail_server.faults.add(refusal)
        self.when_the_second_group_is_composed(watched, lambda: None)
        send(sending, [message.id])
        assert statuses_of(database, message) == {"sent": 99, "failed": 1, "suppressed": 1}

    def test_a_provider_that_takes_nothing_more_is_not_given_the_next_group(
        self, open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback, watched: WatchedSmtp
    ) -> None:
        refusal = Fault(at="mail", do=FaultKind.REPLY, reply="530 5.7.0 authentication required")
        mail_server.faults.add(refusal)
        message = a_message(database, 240)
        self.when_the_second_group_is_composed(watched, lambda: None)
        report = send(open_sending(senders=watched.senders()), [message.id])
        assert statuses_of(database, message)["pending"] > 140, "of the first group some, of the second nobody"
        assert {batch.lease_token for batch in batches_of(database, message)} == {None}
        assert len(report.deferred) == 1


class TestRetryingByHand:
    def test_only_the_failed_and_retryable_ones_are_sent_again(
        self, sending: SendContext, database: Database, mail_server: SmtpLoopback
    ) -> None:
        event = make_event(database)
        busy, gone, lost, fine = make_guests(database, event, 4)
        mail_server.faults.add(
            Fault(at="rcpt", do=FaultKind.REPLY, reply="450 4.2.1 busy", only_for=busy.email),
            Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.2.1 disabled", only_for=gone.email),
            Fault(at="content", do=FaultKind.TAKE_THEN_DROP, only_for=lost.email),
        )
        message = make_message(database, event)
        prepare(sending, [message.id])
        for row in deliveries_of(database, message):
            set_columns(database, row.id, first_attempt_at=database.now() - TRIED_FOR)
        send(sending, [message.id])
        assert statuses_of(database, message) == {"failed": 2, "unknown": 1, "sent": 1}

        assert sending.messages.retry_failed(message.id) == 1
        let_waits_pass(database)
        send(sending, [message.id])

        assert statuses_of(database, message) == {"failed": 1, "unknown": 1, "sent": 2}
        assert mail_server.recipients() == {busy.email: 1, lost.email: 1, fine.email: 1}
        rounds = {row.guest_id: row.round for row in deliveries_of(database, message)}
        assert rounds == {busy.id: 2, gone.id: 1, lost.id: 1, fine.id: 1}
        assert read_message(database, message.id).status is MessageStatus.SENT
