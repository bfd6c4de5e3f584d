"""SMTP against a real server on loopback: every answer is told apart, and nothing is called sent that was not."""

import threading
import time
from dataclasses import replace
from email import message_from_bytes, policy

import pytest

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import Attachment
from guestguard_dagster.senders.smtp.sending import dot_stuffed
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpFeatures
from guestguard_dagster_tests.senders.items import PermitFor, classes, hand_off_all, mail, mails, only
from guestguard_dagster_tests.senders.smtp.servers import QUICK, Start, reply, wait_until

SENT, PERMANENT, TRANSIENT = OutcomeClass.SENT, OutcomeClass.PERMANENT, OutcomeClass.TRANSIENT
PROVIDER_WIDE, UNAVAILABLE, UNKNOWN = OutcomeClass.PROVIDER_WIDE, OutcomeClass.UNAVAILABLE, OutcomeClass.UNKNOWN


def test_a_mail_arrives_whole_with_its_headers(start: Start, features: SmtpFeatures) -> None:
    server, sender = start(features)
    body = "Dear all,\n\n.dots and so on\n.\nfarewell"
    outcome = only(hand_off_all(sender, [mail(7, text=body)]))
    assert outcome.outcome is SENT
    (accepted,) = server.accepted
    assert (accepted.sender, accepted.recipients) == ("events@guestguard.example", ("guest7@example.org",))
    message = message_from_bytes(accepted.content, policy=policy.default)
    assert message["Message-ID"] == "<delivery-7-1.0a1b2c3d@guestguard.example>"
    assert message["From"] == "Ada via GuestGuard <events@guestguard.example>"
    assert message["Reply-To"] == "ada@example.org"
    assert message["List-Unsubscribe"] == "<https://guestguard.example/unsubscribe/signed-7>"
    text_part = message.get_body(("plain",))
    assert text_part is not None
    assert text_part.get_content().splitlines() == body.splitlines()


def test_a_group_is_spread_over_connections_that_are_kept(start: Start) -> None:
    server, sender = start(connections=4)
    server.faults.add(Fault(at="content", do=FaultKind.SLOW, seconds=0.05, times=None))
    for _ in range(2):
        assert set(classes(hand_off_all(sender, mails(20)))) == {SENT}
    assert server.connections == 4
    assert server.commands["EHLO"] == 4
    assert server.recipients() == {f"guest{number}@example.org": 2 for number in range(1, 21)}


def test_all_mails_are_one_hand_off_however_many(start: Start) -> None:
    server, sender = start(connections=2)
    [request] = sender.prepare(mails(120))
    assert len(request.members) == 120
    assert request.body is None
    assert len(server.accepted) == 0


@pytest.mark.parametrize(
    ("stage", "words", "expected", "suppress"),
    [
        ("rcpt", "550 5.1.1 no such user here", PERMANENT, "hard_bounce"),
        ("rcpt", "550 5.1.10 the domain takes no mail", PERMANENT, "hard_bounce"),
        ("rcpt", "553 mailbox name not allowed", PERMANENT, "hard_bounce"),
        ("rcpt", "550 User unknown", PERMANENT, "hard_bounce"),
        ("rcpt", "550 rejected", PERMANENT, None),
        ("rcpt", "550 5.2.1 mailbox disabled", PERMANENT, None),
        ("rcpt", "550 5.4.1 access denied", PERMANENT, None),
        ("rcpt", "552 5.2.2 mailbox full", TRANSIENT, None),
        ("rcpt", "550 5.7.1 message refused by policy", TRANSIENT, None),
        ("rcpt", "554 refused", TRANSIENT, None),
        ("rcpt", "450 4.2.1 try later", TRANSIENT, None),
        ("rcpt", "452 4.2.2 mailbox full", TRANSIENT, None),
        ("rcpt", "530 5.7.0 authentication required", PROVIDER_WIDE, None),
        ("rcpt", "554 5.7.1 relay access denied", PROVIDER_WIDE, None),
        ("mail", "550 5.7.1 sender not yours", PROVIDER_WIDE, None),
        ("mail", "553 5.1.8 sender domain unknown", PROVIDER_WIDE, None),
        ("mail", "552 5.3.4 message too big", PERMANENT, None),
        ("mail", "451 4.3.0 out of order", UNAVAILABLE, None),
        ("data", "554 5.7.1 not today", TRANSIENT, None),
        ("data", "451 4.3.0 out of order", TRANSIENT, None),
        ("content", "550 5.1.1 no such user here", PERMANENT, "hard_bounce"),
        ("content", "552 5.3.4 message too big", PERMANENT, None),
        ("content", "550 5.6.0 malformed", PERMANENT, None),
        ("content", "550 looks like spam", TRANSIENT, None),
        ("content", "550 5.4.5 daily sending quota exceeded", PROVIDER_WIDE, None),
        ("content", "451 4.7.0 later", TRANSIENT, None),
    ],
)
def test_every_refusal_has_its_class(
    start: Start, features: SmtpFeatures, stage: str, words: str, expected: OutcomeClass, suppress: str | None
) -> None:
    server, sender = start(features)
    server.faults.add(reply(stage, words))
    outcome = only(hand_off_all(sender, [mail()]))
    assert (outcome.outcome, outcome.suppress) == (expected, suppress)
    assert outcome.error_code is not None
    assert outcome.error_code.startswith(words[:3])
    assert server.accepted == []
    # The session goes on: the next mail passes over the same connection.
    assert only(hand_off_all(sender, [mail(2)])).outcome is SENT
    assert server.connections == 1


def test_one_refused_recipient_leaves_the_others_of_the_group_alone(start: Start, features: SmtpFeatures) -> None:
    server, sender = start(features)
    server.faults.add(
        reply("rcpt", "550 5.1.1 unknown", only_for="guest3@"),
        reply("rcpt", "450 4.2.0 later", only_for="guest5@"),
        reply("rcpt", "554 5.7.1 relay access denied", only_for="guest7@"),
        reply("content", "554 5.7.1 spam", only_for="guest9@"),
    )
    outcomes = hand_off_all(sender, mails(10))
    assert classes(outcomes) == [
        *(SENT, SENT, PERMANENT, SENT, TRANSIENT, SENT, PROVIDER_WIDE, SENT, TRANSIENT, SENT),
    ]
    assert [outcome is not None and outcome.may_be_recipient for outcome in outcomes] == [n == 7 for n in range(1, 11)]
    assert set(server.recipients()) == {f"guest{number}@example.org" for number in (1, 2, 4, 6, 8, 10)}


def test_a_refusal_stands_although_the_connection_breaks_behind_it(start: Start, features: SmtpFeatures) -> None:
    server, sender = start(features)
    server.faults.add(reply("rcpt", "550 5.1.1 unknown", only_for="guest1@"), Fault(at="rset", do=FaultKind.DROP))
    assert classes(hand_off_all(sender, mails(2))) == [PERMANENT, SENT]


def test_a_connection_that_hangs_keeps_no_other_mail_waiting(start: Start) -> None:
    server, sender = start(connections=2, timeouts=QUICK)
    server.faults.add(Fault(at="content", do=FaultKind.HANG, only_for="guest1@"))
    assert classes(hand_off_all(sender, mails(20))) == [UNKNOWN] + [SENT] * 19
    assert len(server.accepted) == 19


def test_a_mail_of_many_megabytes_arrives_whole(start: Start, features: SmtpFeatures) -> None:
    server, sender = start(replace(features, size_limit=None), connections=2)
    photo = Attachment("photo.jpg", "image/jpeg", bytes(range(256)) * 40_000)
    assert classes(hand_off_all(sender, [mail(number, attachments=(photo,)) for number in (1, 2, 3)])) == [SENT] * 3
    for accepted in server.accepted:
        [attached] = message_from_bytes(accepted.content, policy=policy.default).iter_attachments()
        assert attached.get_content() == photo.content


def test_greylisting_defers_and_then_passes(start: Start) -> None:
    _, sender = start(SmtpFeatures(greylisting=True))
    assert only(hand_off_all(sender, [mail()])).outcome is TRANSIENT
    assert only(hand_off_all(sender, [mail()])).outcome is SENT


def test_a_refused_sender_stops_the_group_at_once(start: Start) -> None:
    server, sender = start()
    server.faults.add(reply("mail", "550 5.7.1 this sender is not yours", times=None))
    assert classes(hand_off_all(sender, mails(30))) == [PROVIDER_WIDE] * 30
    assert server.commands["MAIL"] == 1


@pytest.mark.parametrize("do", [FaultKind.DROP, FaultKind.RESET, FaultKind.HANG])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_a_break_before_the_content_is_never_unknown(
    start: Start, features: SmtpFeatures, stage: str, do: FaultKind
) -> None:
    server, sender = start(features, timeouts=QUICK)
    server.faults.add(Fault(at=stage, do=do, times=None))
    # A server that breaks off at MAIL takes no mail at all; at RCPT, it may be the recipient that it breaks on.
    expected = [UNAVAILABLE, None] if stage == "mail" else [TRANSIENT, TRANSIENT]
    assert classes(hand_off_all(sender, mails(2))) == expected
    assert server.accepted == []


def test_a_server_that_takes_no_mail_at_all_is_not_tried_for_every_mail(start: Start, features: SmtpFeatures) -> None:
    server, sender = start(features, timeouts=QUICK)
    server.faults.add(Fault(at="mail", do=FaultKind.HANG, times=None))
    assert classes(hand_off_all(sender, mails(50))) == [UNAVAILABLE] + [None] * 49
    assert server.connections == 1


def test_a_recipient_on_which_the_server_breaks_leaves_the_others_alone(start: Start, features: SmtpFeatures) -> None:
    server, sender = start(features)
    server.faults.add(Fault(at="rcpt", do=FaultKind.DROP, only_for="guest3@", times=None))
    assert classes(hand_off_all(sender, mails(5))) == [SENT, SENT, TRANSIENT, SENT, SENT]


@pytest.mark.parametrize(
    ("stage", "do", "taken"),
    [
        ("content_start", FaultKind.DROP, 0),
        ("content_start", FaultKind.RESET, 0),
        ("content_start", FaultKind.HANG, 0),
        ("content", FaultKind.DROP, 0),
        ("content", FaultKind.HANG, 0),
        ("content", FaultKind.TAKE_THEN_DROP, 1),
        ("content", FaultKind.TAKE_THEN_RESET, 1),
        ("content", FaultKind.TAKE_THEN_HANG, 1),
    ],
)
def test_a_break_once_the_content_is_on_its_way_is_unknown(
    start: Start, features: SmtpFeatures, stage: str, do: FaultKind, taken: int
) -> None:
    server, sender = start(features, timeouts=QUICK)
    server.faults.add(Fault(at=stage, do=do, only_for="guest2@"))
    assert classes(hand_off_all(sender, mails(3))) == [SENT, UNKNOWN, SENT]
    assert server.recipients()["guest2@example.org"] == taken


def test_an_unreadable_reply_to_the_content_is_unknown(start: Start) -> None:
    server, sender = start()
    server.faults.add(Fault(at="content", do=FaultKind.TAKE_THEN_REPLY, reply="what was that?"))
    assert classes(hand_off_all(sender, mails(2))) == [UNKNOWN, SENT]


@pytest.mark.parametrize("idle_then", ["drop", "421"])
def test_a_connection_that_the_server_closed_meanwhile_costs_no_mail(
    start: Start, features: SmtpFeatures, idle_then: str
) -> None:
    server, sender = start(features)
    assert only(hand_off_all(sender, [mail(1)])).outcome is SENT
    fault = reply("mail", "421 4.4.2 idle too long") if idle_then == "421" else Fault(at="mail", do=FaultKind.DROP)
    server.faults.add(fault)
    assert classes(hand_off_all(sender, [mail(2), mail(3)])) == [SENT, SENT]
    assert server.connections == 2
    assert server.recipients() == {f"guest{number}@example.org": 1 for number in (1, 2, 3)}


def test_a_connection_that_idled_too_long_for_the_server_costs_no_mail(start: Start) -> None:
    server, sender = start(SmtpFeatures(idle_seconds=0.2))
    assert only(hand_off_all(sender, [mail(1)])).outcome is SENT
    wait_until(lambda: server.ended == 1)
    assert only(hand_off_all(sender, [mail(2)])).outcome is SENT
    assert server.connections == 2


def test_a_connection_that_idled_for_long_is_replaced_before_it_is_tried(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, sender = start()
    assert only(hand_off_all(sender, [mail(1)])).outcome is SENT
    later = time.monotonic() + 31
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert only(hand_off_all(sender, [mail(2)])).outcome is SENT
    assert server.connections == 2
    assert server.commands["QUIT"] == 1


def test_a_server_that_limits_mails_per_connection_gets_new_connections(start: Start) -> None:
    server, sender = start(SmtpFeatures(mails_per_connection=5))
    assert set(classes(hand_off_all(sender, mails(20)))) == {SENT}
    assert server.connections == 4


def test_as_many_mails_as_connections_leave_side_by_side(start: Start) -> None:
    server, sender = start(connections=4)
    server.faults.add(Fault(at="content", do=FaultKind.SLOW, seconds=0.2, times=None))
    assert set(classes(hand_off_all(sender, mails(4)))) == {SENT}
    assert server.connections == 4


def test_421_to_the_content_is_a_refusal_and_ends_the_connection(start: Start) -> None:
    server, sender = start()
    server.faults.add(reply("content", "421 4.3.0 shutting down", only_for="guest1@"))
    assert classes(hand_off_all(sender, mails(2))) == [TRANSIENT, SENT]
    assert server.connections == 2


def test_a_refused_connection_sends_nothing_and_asks_once(start: Start) -> None:
    server, sender = start()
    server.stop()
    outcomes = hand_off_all(sender, mails(50))
    assert classes(outcomes) == [UNAVAILABLE] + [None] * 49
    assert outcomes[0] is not None
    assert outcomes[0].error_class == "ConnectionRefusedError"


def test_what_the_mail_server_could_never_take_is_permanent_without_asking_it(start: Start) -> None:
    server, sender = start(SmtpFeatures(size_limit=2000))
    outcomes = hand_off_all(sender, [mail(1, text="long " * 1000), mail(2, to="not-an-address"), mail(3)])
    assert classes(outcomes) == [PERMANENT, PERMANENT, SENT]
    assert [outcome and outcome.suppress for outcome in outcomes] == [None, None, None]
    assert server.commands["MAIL"] == 1


@pytest.mark.parametrize(
    "hostile", ["a@b.example\r\nRCPT TO:<c@d.example>", "a@b.example>,<c@d.example", "a b@c.example"]
)
def test_an_address_cannot_carry_another_command(start: Start, hostile: str) -> None:
    server, sender = start()
    assert only(hand_off_all(sender, [mail(to=hostile)])).outcome is PERMANENT
    assert server.accepted == []


def test_a_lost_lease_stops_between_two_mails_and_says_which_never_left(start: Start, features: SmtpFeatures) -> None:
    server, sender = start(features)
    # One permit opens the connection, one begins with the mail, one is for its content.
    assert classes(hand_off_all(sender, mails(6), PermitFor(3))) == [SENT] + [None] * 5
    assert classes(hand_off_all(sender, mails(6), PermitFor(1))) == [None] * 6
    assert set(server.recipients()) == {"guest1@example.org"}
    assert set(classes(hand_off_all(sender, mails(6)))) == {SENT}
    assert sum(server.recipients().values()) == 7


def test_no_connection_is_opened_without_permit(start: Start) -> None:
    server, sender = start()
    assert classes(hand_off_all(sender, mails(3), PermitFor(0))) == [None] * 3
    assert server.connections == 0


def test_hand_offs_of_several_threads_share_the_connections(start: Start) -> None:
    server, sender = start(connections=3)
    results: list[list[Outcome | None]] = []

    def send(first: int) -> None:
        items = [mail(delivery_id) for delivery_id in range(first, first + 40)]
        results.append(hand_off_all(sender, items))

    threads = [threading.Thread(target=send, args=(start_at,)) for start_at in (0, 1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [set(classes(outcomes)) for outcomes in results] == [{SENT}] * 4
    assert set(server.recipients().values()) == {1}
    assert len(server.accepted) == 160
    assert server.connections <= 3


def test_what_the_server_quotes_back_reaches_no_outcome(start: Start) -> None:
    server, sender = start()
    quoted = "550 5.1.1 <guest1@example.org>: Recipient guest1@example.org rejected, call +49 151 12345678"
    server.faults.add(reply("rcpt", quoted))
    outcome = only(hand_off_all(sender, [mail(1)]))
    assert outcome.detail is not None
    assert "guest1" not in repr(outcome)
    assert "12345678" not in repr(outcome)
    assert "550 5.1.1" in outcome.detail


@pytest.mark.parametrize("content", [b"", b".", b"a\r\n.b\r\n", b".a\r\n..\r\n.\r\nb", b"\r\n"])
def test_dot_stuffing_ends_only_at_its_own_dot(content: bytes) -> None:
    stuffed = dot_stuffed(content)
    assert stuffed.endswith(b"\r\n.\r\n") or stuffed == b"\r\n.\r\n"
    assert b"\r\n.\r\n" not in (b"\r\n" + stuffed)[:-1]
    lines = (b"\r\n" + stuffed)[2:-3].split(b"\r\n")
    unstuffed = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
    assert unstuffed in (content, content + b"\r\n")
