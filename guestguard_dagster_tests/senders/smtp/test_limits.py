"""Servers that take less than is offered, or nothing for a while: every mail arrives once, and no attempt is burnt."""

import time
from collections.abc import Sequence

import pytest

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import Mail
from guestguard_dagster.senders.smtp import session as smtp_session
from guestguard_dagster.senders.smtp.replies import RETRY_LIMIT, RETRY_UNREACHABLE
from guestguard_dagster.senders.smtp.sending import SmtpSender
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpFeatures, SmtpLoopback
from guestguard_dagster_tests.senders.items import classes, hand_off_all, mail, mails
from guestguard_dagster_tests.senders.smtp.servers import QUICK, Start, reply

SENT, TRANSIENT, UNAVAILABLE = OutcomeClass.SENT, OutcomeClass.TRANSIENT, OutcomeClass.UNAVAILABLE


def the_unavailable(outcomes: Sequence[Outcome | None]) -> Outcome:
    """The first of them, of which there must be one; the others have left, or never have."""
    assert set(classes(outcomes)) <= {SENT, UNAVAILABLE, None}
    return next(outcome for outcome in outcomes if outcome and outcome.outcome is UNAVAILABLE)


def hand_off_until_sent(sender: SmtpSender, items: Sequence[Mail]) -> int:
    """As the engine does: what never left goes into another hand-off. How many hand-offs met a limit."""
    limited = 0
    while items:
        outcomes = hand_off_all(sender, items[:50])
        items = [
            *(
                item
                for item, outcome in zip(items, outcomes, strict=False)
                if not (outcome and outcome.outcome is SENT)
            ),
            *items[50:],
        ]
        if set(classes(outcomes)) != {SENT}:
            assert the_unavailable(outcomes).retry_after == RETRY_LIMIT
            limited += 1
            time.sleep(0.02)
    return limited


def test_a_server_that_allows_fewer_connections_than_are_opened_takes_every_mail(start: Start) -> None:
    server, sender = start(SmtpFeatures(most_connections=3), connections=4)
    for _ in range(3):
        assert set(classes(hand_off_all(sender, mails(200)))) == {SENT}
    assert server.recipients() == {f"guest{number}@example.org": 3 for number in range(1, 201)}
    assert server.connections_refused == 1, "one more is not tried again at once"


def test_one_more_connection_is_tried_after_a_while(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server, sender = start(SmtpFeatures(most_connections=1), connections=2)
    monkeypatch.setattr(smtp_session, "_LONGEST_IDLE_SECONDS", 3600)
    server.faults.add(Fault(at="content", do=FaultKind.SLOW, seconds=0.02, times=None))
    monotonic = time.monotonic
    for later, refused in ((0, 1), (0, 1), (61, 2), (61, 2)):
        monkeypatch.setattr(time, "monotonic", lambda later=later: monotonic() + later)
        assert set(classes(hand_off_all(sender, mails(20)))) == {SENT}
        assert server.connections_refused == refused


@pytest.mark.parametrize("refusal", ["421 4.7.0 too many", "450 4.7.0 not one more", "554 no", "drop", "hang", "reset"])
@pytest.mark.parametrize("stage", ["connect", "ehlo"])
def test_a_refused_additional_connection_costs_no_mail(start: Start, stage: str, refusal: str) -> None:
    server, sender = start(connections=4, timeouts=QUICK)
    does = {"drop": FaultKind.DROP, "hang": FaultKind.HANG, "reset": FaultKind.RESET}.get(refusal, FaultKind.REPLY)
    server.faults.add(Fault(at=stage, do=does, reply=refusal, after=1, times=None))
    for _ in range(2):
        assert set(classes(hand_off_all(sender, mails(100)))) == {SENT}
    assert set(server.recipients().values()) == {2}


def test_an_additional_connection_that_takes_no_mail_costs_none(start: Start) -> None:
    server, sender = start(connections=2)
    server.faults.add(Fault(at="content", do=FaultKind.SLOW, seconds=0.1, only_for="guest1@"))
    server.faults.add(reply("mail", "421 4.7.0 too many concurrent sessions", after=1))
    assert set(classes(hand_off_all(sender, mails(20)))) == {SENT}
    assert set(server.recipients().values()) == {1}


@pytest.mark.parametrize(
    "words", ["452 4.5.3 too many mails on this connection", "421 4.7.0 enough of this connection"]
)
def test_a_limit_for_one_connection_costs_a_connection_and_no_wait(
    start: Start, features: SmtpFeatures, words: str
) -> None:
    server, sender = start(features)
    for _ in range(2):
        server.faults.add(reply("mail", words, after=3))
        assert classes(hand_off_all(sender, mails(6))) == [SENT] * 6
    assert server.connections == 3
    assert set(server.recipients().values()) == {2}


@pytest.mark.parametrize("over_limit", ["450 4.7.1 Error: too much mail", "421 4.7.0 try again later", "451 slow down"])
@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("pipelining", [True, False])
def test_a_server_that_limits_mails_by_time_takes_every_mail_once(
    start: Start, over_limit: str, connections: int, pipelining: bool
) -> None:
    features = SmtpFeatures(pipelining=pipelining, mails_per_period=(40, 0.2), over_limit=over_limit)
    server, sender = start(features, connections=connections)
    assert hand_off_until_sent(sender, mails(100)) > 0
    assert server.recipients() == {f"guest{number}@example.org": 1 for number in range(1, 101)}


def test_beyond_a_limit_the_server_is_not_asked_for_every_mail(start: Start) -> None:
    server, sender = start(SmtpFeatures(mails_per_period=(10, 3600)), connections=4)
    outcomes = hand_off_all(sender, mails(50))
    assert the_unavailable(outcomes).error_code == "450 4.7.1"
    assert classes(outcomes).count(SENT) == 10
    assert server.mails_refused <= 2 * 4


def test_a_server_that_was_down_takes_every_mail_once(start: Start) -> None:
    server, sender = start(connections=4)
    assert set(classes(hand_off_all(sender, mails(50)))) == {SENT}
    server.stop()
    server.end_connections()
    others = [mail(number) for number in range(51, 101)]
    for _ in range(10):
        outcomes = hand_off_all(sender, others)
        assert the_unavailable(outcomes).retry_after == RETRY_UNREACHABLE
        assert classes(outcomes).count(None) == 49
    with SmtpLoopback(SmtpFeatures(), server.port) as again:
        assert set(classes(hand_off_all(sender, others))) == {SENT}
        assert again.recipients() == {f"guest{number}@example.org": 1 for number in range(51, 101)}


@pytest.mark.parametrize(
    ("stage", "words", "first_wait"),
    [
        ("connect", "421 4.3.2 too busy", RETRY_LIMIT),
        ("connect", "450 later", RETRY_LIMIT),
        ("ehlo", "421 4.3.2 too busy", RETRY_LIMIT),
        ("ehlo", "451 4.3.0 later", RETRY_LIMIT),
        ("connect", "554 5.7.1 your address is listed", RETRY_UNREACHABLE),
        ("connect", "SSH-2.0-OpenSSH", RETRY_UNREACHABLE),
    ],
)
def test_a_server_that_does_not_greet_gets_no_mail_and_burns_no_attempt(
    start: Start, stage: str, words: str, first_wait: object
) -> None:
    server, sender = start(connections=4)
    server.faults.add(reply(stage, words, times=None))
    outcomes = hand_off_all(sender, mails(3))
    assert classes(outcomes) == [UNAVAILABLE, None, None]
    assert the_unavailable(outcomes).retry_after == first_wait
    assert server.connections == 1


@pytest.mark.parametrize("stage", ["rcpt", "data"])
@pytest.mark.parametrize(
    "words",
    [
        "452 4.5.3 too many recipients",
        "450 4.7.1 too many messages from you",
        "451 4.4.5 system congestion",
        "450 rate limit exceeded",
        "450 4.3.2 system not accepting",
    ],
)
def test_a_limit_that_shows_at_a_recipient_is_still_the_servers(start: Start, stage: str, words: str) -> None:
    server, sender = start()
    server.faults.add(reply(stage, words, only_for="guest2@"))
    outcomes = hand_off_all(sender, mails(4))
    assert classes(outcomes) == [SENT, UNAVAILABLE, None, None]
    assert the_unavailable(outcomes).retry_after == RETRY_LIMIT


@pytest.mark.parametrize(
    "words",
    [
        "450 4.2.1 this mailbox gets too many messages",
        "452 4.2.2 mailbox full",
        "450 4.7.1 greylisted",
        "451 4.1.8 no such sender domain",
    ],
)
def test_a_deferral_of_one_recipient_is_no_limit_of_the_server(start: Start, words: str) -> None:
    server, sender = start()
    server.faults.add(reply("rcpt", words, only_for="guest2@"))
    assert classes(hand_off_all(sender, mails(4))) == [SENT, TRANSIENT, SENT, SENT]
