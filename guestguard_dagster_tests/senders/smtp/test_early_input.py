"""A mail's commands go out behind the content of the one before, where the server takes that: no mail is harmed."""

import select

import pytest

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import LeaseLost, Permit, TimeIsUp
from guestguard_dagster.senders.smtp.connect import SmtpAccess, tls_context
from guestguard_dagster.senders.smtp.session import EarlyInput, Envelope, SmtpSession
from guestguard_dagster_tests.loopback.smtp import SmtpFeatures, SmtpLoopback
from guestguard_dagster_tests.senders.items import always, classes, hand_off_all, mail, mails
from guestguard_dagster_tests.senders.smtp.servers import QUICK, Start, reply, wait_until

SENT, TRANSIENT, PROVIDER_WIDE = OutcomeClass.SENT, OutcomeClass.TRANSIENT, OutcomeClass.PROVIDER_WIDE


def until_accepted(server: SmtpLoopback, count: int, lost: LeaseLost) -> Permit:
    """A permit that holds until the server has taken so many mails."""

    def permit() -> None:
        if len(server.accepted) >= count:
            raise lost

    return permit


def test_the_next_mail_is_announced_behind_the_content_of_the_one_before(start: Start) -> None:
    server, sender = start()
    for _ in range(2):
        assert set(classes(hand_off_all(sender, mails(10)))) == {SENT}
    assert server.announced_ahead == 2 * 9, "all but the first of each group"
    assert server.commands["MAIL"] == server.commands["DATA"] == 20


@pytest.mark.parametrize("reaction", ["silence", "503 5.5.0 improper command pipelining", "421 4.7.0 and goodbye"])
def test_a_server_that_discards_early_input_costs_one_connection_and_no_mail(start: Start, reaction: str) -> None:
    server, sender = start(SmtpFeatures(early_input=reaction), timeouts=QUICK)
    for _ in range(2):
        assert set(classes(hand_off_all(sender, mails(10)))) == {SENT}
    assert set(server.recipients().values()) == {2}
    assert server.announced_ahead == 1, "once is enough to know"
    assert server.connections == 2


def test_a_server_that_refuses_a_content_for_what_follows_gets_no_early_input_again(start: Start) -> None:
    server, sender = start()
    server.faults.add(reply("content", "554 5.5.0 synchronization error"))
    assert classes(hand_off_all(sender, mails(4)))[1:] == [SENT] * 3
    assert server.announced_ahead == 1


def test_a_session_that_announced_a_mail_sends_no_other(start: Start) -> None:
    server, _ = start()
    access = SmtpAccess("127.0.0.1", server.port, "none", "client.test")
    session = SmtpSession(access, tls_context(None), EarlyInput())
    first, second, third = (
        Envelope("events@guestguard.example", f"guest{number}@example.org", b"Subject: x\r\n\r\nx\r\n.\r\n")
        for number in (1, 2, 3)
    )
    assert carried(session, session.start(first, always, second)).outcome is SENT
    assert not session.is_free
    with pytest.raises(RuntimeError):
        session.start(third, always)
    assert not session.is_open


def carried(session: SmtpSession, outcome: Outcome | None) -> Outcome:
    while outcome is None:
        select.select([session.socket], [], [], 5)
        outcome = session.proceed()
    return outcome


@pytest.mark.parametrize("stage", ["rcpt", "data"])
def test_a_refusal_of_the_mail_that_was_announced_ahead_is_its_own(start: Start, stage: str) -> None:
    server, sender = start()
    server.faults.add(reply(stage, "450 4.2.1 mailbox busy", only_for="guest2@"))
    assert classes(hand_off_all(sender, mails(3))) == [SENT, TRANSIENT, SENT]
    assert server.announced_ahead > 0


def test_a_group_that_ends_at_a_content_leaves_no_session_in_the_middle_of_a_mail(start: Start) -> None:
    server, sender = start()
    server.faults.add(reply("content", "550 5.4.5 daily quota exceeded", only_for="guest1@"))
    assert classes(hand_off_all(sender, mails(3))) == [PROVIDER_WIDE] * 3
    assert set(classes(hand_off_all(sender, [mail(4), mail(5)]))) == {SENT}
    assert server.recipients() == {"guest4@example.org": 1, "guest5@example.org": 1}


def test_a_hand_off_that_lasts_for_long_enough_ends_without_closing_a_session(start: Start) -> None:
    server, sender = start()
    outcomes = hand_off_all(sender, mails(10), until_accepted(server, 2, TimeIsUp()))
    assert classes(outcomes) == [SENT] * 3 + [None] * 7, "the third was announced already"
    assert classes(hand_off_all(sender, mails(3))) == [SENT] * 3
    assert server.connections == 1


def test_a_lost_lease_also_stops_what_was_announced(start: Start) -> None:
    server, sender = start()
    outcomes = hand_off_all(sender, mails(10), until_accepted(server, 2, LeaseLost()))
    assert classes(outcomes) == [SENT] * 2 + [None] * 8
    # The session that waits for content is given up at once: what follows is mail again, not content.
    wait_until(lambda: server.ended == 1)
    assert classes(hand_off_all(sender, mails(10))) == [SENT] * 10
    assert len(server.accepted) == 12
