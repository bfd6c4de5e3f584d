"""Resend through its SDK, against a faithful server: a repeat is the same request, doubt is called doubt."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
import resend as resend_sdk
import trustme

from guestguard_dagster.domain.outcomes import OutcomeClass
from guestguard_dagster.senders.base import Attachment, HandOff
from guestguard_dagster.senders.resend.sdk import ResendAccount
from guestguard_dagster.senders.resend.sending import ResendSender
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.resend import API_KEY, ResendLoopback
from guestguard_dagster_tests.senders.items import (
    INSTALLATION,
    PermitFor,
    always,
    classes,
    hand_off_all,
    mail,
    mails,
    only,
    reloaded,
)

SENT, PERMANENT, UNAVAILABLE = OutcomeClass.SENT, OutcomeClass.PERMANENT, OutcomeClass.UNAVAILABLE
PROVIDER_WIDE, UNKNOWN = OutcomeClass.PROVIDER_WIDE, OutcomeClass.UNKNOWN

INVITATION = Attachment("party.ics", "text/calendar", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n")

Connect = Callable[..., ResendSender]


@pytest.fixture
def server() -> Iterator[ResendLoopback]:
    with ResendLoopback() as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as stack:

        def sender(
            url: str, api_key: str = API_KEY, from_email: str = "events@guestguard.example", read_timeout: float = 10
        ) -> ResendSender:
            account = ResendAccount(api_key, url, timeouts=(2, read_timeout))
            made = ResendSender(account, from_email, requests_per_second=1000)
            stack.callback(made.close)
            return made

        yield sender


def refusal(status: int, name: str, message: str = "No.", headers: dict[str, str] | None = None) -> Fault:
    body = json.dumps({"statusCode": status, "name": name, "message": message})
    all_headers = {"content-type": "application/json", **(headers or {})}
    return Fault(at="/emails/batch", do=FaultKind.REPLY, status=status, reply=body, headers=all_headers)


def test_a_batch_arrives_whole_with_its_ids_tags_and_headers(server: ResendLoopback, connect: Connect) -> None:
    outcomes = hand_off_all(connect(server.url), mails(100))
    assert set(classes(outcomes)) == {SENT}
    assert len(server.requests) == 1
    by_delivery = {email.tags["delivery_id"]: email for email in server.accepted}
    assert [outcome and outcome.provider_message_id for outcome in outcomes] == [
        by_delivery[str(delivery_id)].id for delivery_id in range(1, 101)
    ]
    email = by_delivery["7"]
    assert email.tags == {"delivery_id": "7", "installation_id": INSTALLATION}
    assert email.to == ("guest7@example.org",)
    assert email.sender == "Ada via GuestGuard <events@guestguard.example>"
    assert email.reply_to == "ada@example.org"
    assert email.headers == {
        "List-Unsubscribe": "<https://guestguard.example/unsubscribe/signed-7>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def test_many_mails_become_batches_of_a_hundred_over_one_connection(server: ResendLoopback, connect: Connect) -> None:
    assert set(classes(hand_off_all(connect(server.url), mails(250)))) == {SENT}
    assert [len(json.loads(request.body)) for request in server.requests] == [100, 100, 50]
    assert server.connections == 1
    assert set(server.recipients().values()) == {1}


def test_mail_with_attachments_goes_alone_so_that_they_arrive(server: ResendLoopback, connect: Connect) -> None:
    items = [mail(1), mail(2, attachments=(INVITATION,)), mail(3)]
    assert set(classes(hand_off_all(connect(server.url), items))) == {SENT}
    assert [request.path for request in server.requests] == ["/emails/batch", "/emails"]
    assert {email.tags["delivery_id"]: email.attachments for email in server.accepted} == {
        "1": (),
        "2": ("party.ics",),
        "3": (),
    }


def test_a_repeated_hand_off_is_the_same_request_and_sends_nothing_again(
    server: ResendLoopback, connect: Connect
) -> None:
    (request,) = connect(server.url).prepare(mails(20))
    first = connect(server.url).hand_off(request, always)
    again = connect(server.url).hand_off(reloaded(request), always)
    assert [outcome and outcome.provider_message_id for outcome in first] == [
        outcome and outcome.provider_message_id for outcome in again
    ]
    assert [seen.body for seen in server.requests] == [request.body, request.body]
    assert {seen.headers["idempotency-key"] for seen in server.requests} == {str(request.key)}
    assert len(server.accepted) == 20


@pytest.mark.parametrize(
    "fault",
    [
        Fault(at="/emails/batch", do=FaultKind.TAKE_THEN_DROP),
        Fault(at="/emails/batch", do=FaultKind.TAKE_THEN_RESET),
        Fault(at="/emails/batch", do=FaultKind.TAKE_THEN_HANG),
        Fault(at="/emails/batch", do=FaultKind.TAKE_THEN_REPLY, status=502, reply="<html>Bad gateway</html>"),
        Fault(at="/emails/batch", do=FaultKind.TAKE_THEN_REPLY, status=200, reply="<html>hello</html>"),
        Fault(at="/emails/batch", do=FaultKind.DROP),
        Fault(at="/emails/batch", do=FaultKind.RESET),
        Fault(at="/emails/batch", do=FaultKind.HANG),
        refusal(500, "application_error"),
        refusal(500, "internal_server_error"),
        refusal(503, "service_unavailable"),
    ],
    ids=lambda fault: f"{fault.do}-{fault.status}",
)
def test_after_any_lost_answer_the_repeat_ends_the_doubt_without_a_second_mail(
    server: ResendLoopback, connect: Connect, fault: Fault
) -> None:
    sender = connect(server.url, read_timeout=0.5)
    server.faults.add(fault)
    (request,) = sender.prepare(mails(3))
    assert classes(sender.hand_off(request, always)) == [UNKNOWN] * 3
    assert classes(sender.hand_off(reloaded(request), always)) == [SENT] * 3
    assert server.recipients() == {f"guest{number}@example.org": 1 for number in (1, 2, 3)}


def test_a_refused_connection_is_not_ambiguous(connect: Connect) -> None:
    outcome = only(hand_off_all(connect(f"http://127.0.0.1:{free_port()}"), [mail()]))
    assert (outcome.outcome, outcome.error_class) == (UNAVAILABLE, "ConnectionRefusedError")
    assert outcome.retry_after == timedelta(seconds=5)


@pytest.mark.parametrize(("url", "error"), [("http://resend.invalid", "gaierror"), ("resend.example", "MissingSchema")])
def test_an_address_that_leads_nowhere_is_not_ambiguous(connect: Connect, url: str, error: str) -> None:
    outcome = only(hand_off_all(connect(url), [mail()]))
    assert (outcome.outcome, outcome.error_class) == (UNAVAILABLE, error)


def test_a_failed_tls_handshake_is_not_ambiguous(connect: Connect) -> None:
    with TlsServer() as server:
        outcome = only(hand_off_all(connect(f"https://localhost:{server.port}"), [mail()]))
    assert (outcome.outcome, outcome.error_class) == (UNAVAILABLE, "SSLCertVerificationError")


def test_a_read_timeout_keeps_the_real_name_of_the_error(server: ResendLoopback, connect: Connect) -> None:
    server.faults.add(Fault(at="/emails/batch", do=FaultKind.HANG))
    outcome = only(hand_off_all(connect(server.url, read_timeout=0.3), [mail()]))
    assert (outcome.outcome, outcome.error_class) == (UNKNOWN, "ReadTimeout")
    assert outcome.duration_ms >= 300


@pytest.mark.parametrize(
    ("fault", "expected", "retry_after"),
    [
        (refusal(401, "missing_api_key"), PROVIDER_WIDE, None),
        (refusal(401, "restricted_api_key"), PROVIDER_WIDE, None),
        (refusal(403, "invalid_api_key"), PROVIDER_WIDE, None),
        (refusal(403, "suspended_api_key"), PROVIDER_WIDE, None),
        (refusal(403, "validation_error", "The guestguard.example domain is not verified."), PROVIDER_WIDE, None),
        (refusal(422, "invalid_from_address"), PROVIDER_WIDE, None),
        (refusal(404, "not_found"), PROVIDER_WIDE, None),
        (refusal(451, "security_error"), PROVIDER_WIDE, None),
        (refusal(429, "daily_quota_exceeded"), PROVIDER_WIDE, timedelta(hours=1)),
        (refusal(429, "daily_quota_exceeded", headers={"retry-after": "7200"}), PROVIDER_WIDE, timedelta(hours=2)),
        (refusal(429, "monthly_quota_exceeded", headers={"retry-after": "1"}), PROVIDER_WIDE, timedelta(hours=6)),
        (refusal(429, "rate_limit_exceeded", headers={"retry-after": "3"}), UNAVAILABLE, timedelta(seconds=3)),
        (refusal(429, "rate_limit_exceeded", headers={"ratelimit-reset": "2"}), UNAVAILABLE, timedelta(seconds=2)),
        (refusal(429, "rate_limit_exceeded"), UNAVAILABLE, timedelta(seconds=1)),
        (refusal(422, "validation_error", "Something about `html`."), PERMANENT, None),
        (refusal(422, "missing_required_field"), PERMANENT, None),
        (refusal(409, "concurrent_idempotent_requests"), UNKNOWN, timedelta(seconds=2)),
        (refusal(409, "invalid_idempotent_request"), UNKNOWN, None),
        (refusal(500, "application_error", headers={"retry-after": "5"}), UNKNOWN, timedelta(seconds=5)),
        (Fault(at="/emails/batch", do=FaultKind.REPLY, status=403, reply="<html>blocked</html>"), PROVIDER_WIDE, None),
        (Fault(at="/emails/batch", do=FaultKind.REPLY, status=302, reply="", headers={"location": "/"}), UNKNOWN, None),
    ],
    ids=lambda value: f"{value.status}-{value.reply[:60]}" if isinstance(value, Fault) else "",
)
def test_every_documented_error_has_its_class(
    server: ResendLoopback, connect: Connect, fault: Fault, expected: OutcomeClass, retry_after: timedelta | None
) -> None:
    server.faults.add(fault)
    outcomes = hand_off_all(connect(server.url), mails(2))
    assert classes(outcomes) == [expected] * 2
    assert outcomes[0] is not None
    assert outcomes[0].retry_after == retry_after
    assert outcomes[0].suppress is None
    assert not outcomes[0].may_be_recipient
    assert server.accepted == []


def test_a_wrong_key_is_about_the_account_and_stays_unsaid(server: ResendLoopback, connect: Connect) -> None:
    outcome = only(hand_off_all(connect(server.url, api_key="re_wrong_but_secret"), [mail()]))
    assert (outcome.outcome, outcome.error_class, outcome.error_code) == (PROVIDER_WIDE, "invalid_api_key", "403")
    assert "re_wrong" not in repr(outcome)


def test_an_unverified_sending_domain_is_about_the_account(server: ResendLoopback, connect: Connect) -> None:
    sender = connect(server.url, from_email="events@elsewhere.example")
    for items in ([mail()], [mail(1), mail(2, attachments=(INVITATION,))]):
        outcomes = hand_off_all(sender, items)
        assert set(classes(outcomes)) == {PROVIDER_WIDE}
        assert not any(outcome and outcome.may_be_recipient for outcome in outcomes)


def test_the_rate_limit_of_the_account_is_heeded(connect: Connect) -> None:
    with ResendLoopback(requests_per_second=1) as server:
        wait_for_a_new_second()
        outcomes = [only(hand_off_all(connect(server.url), [mail(number)])) for number in (1, 2)]
    assert classes(outcomes) == [SENT, UNAVAILABLE]
    assert outcomes[1].retry_after == timedelta(seconds=1)


def test_the_daily_quota_is_not_asked_again_in_seconds(connect: Connect) -> None:
    with ResendLoopback(daily_quota=0) as server:
        outcome = only(hand_off_all(connect(server.url), [mail()]))
    assert (outcome.outcome, outcome.error_class) == (PROVIDER_WIDE, "daily_quota_exceeded")
    assert outcome.retry_after is not None
    assert outcome.retry_after >= timedelta(hours=1)


def test_a_refused_member_of_a_batch_is_the_right_one(server: ResendLoopback, connect: Connect) -> None:
    # The server takes no underscore in a domain; nothing on our side stops such an address.
    items = [mail(1), mail(2), mail(3), mail(4)]
    sender = connect(server.url)
    (request,) = sender.prepare(items)
    assert request.body is not None
    spoilt = request.body.replace(b"guest2@example.org", b"guest2@example").replace(b"guest4@", b"@")
    outcomes = sender.hand_off(HandOff(request.members, request.endpoint, spoilt), always)
    assert classes(outcomes) == [SENT, PERMANENT, SENT, PERMANENT]
    ids = {email.tags["delivery_id"]: email.id for email in server.accepted}
    assert [outcome and outcome.provider_message_id for outcome in outcomes] == [ids["1"], None, ids["3"], None]
    assert "guest2" not in repr(outcomes)


def test_an_answer_of_another_shape_is_unknown(server: ResendLoopback, connect: Connect) -> None:
    headers = {"content-type": "application/json"}
    server.faults.add(Fault(at="/emails/batch", do=FaultKind.REPLY, status=200, reply="[]", headers=headers))
    assert classes(hand_off_all(connect(server.url), mails(3))) == [UNKNOWN] * 3


def test_an_impossible_address_costs_nobody_else_and_no_call(server: ResendLoopback, connect: Connect) -> None:
    sender = connect(server.url)
    requests = sender.prepare([mail(1), mail(2, to="nobody"), mail(3)])
    assert [request.members for request in requests] == [(1, 3), (2,)]
    outcome = only(sender.hand_off(reloaded(requests[1]), always))
    assert (outcome.outcome, outcome.error_class, outcome.suppress) == (PERMANENT, "invalid_address", None)
    assert server.requests == []


def test_the_same_key_with_another_body_is_never_repeated(server: ResendLoopback, connect: Connect) -> None:
    sender = connect(server.url)
    (request,), (other,) = sender.prepare([mail(1)]), sender.prepare([mail(2)])
    assert classes(sender.hand_off(request, always)) == [SENT]
    mixed = HandOff(other.members, other.endpoint, other.body, key=request.key)
    outcome = only(sender.hand_off(mixed, always))
    assert (outcome.outcome, outcome.error_class) == (UNKNOWN, "invalid_idempotent_request")
    assert len(server.accepted) == 1


def test_a_repeat_while_the_first_is_under_way_waits_for_its_answer(connect: Connect) -> None:
    with ResendLoopback(processing_seconds=1.5) as server:
        (request,) = connect(server.url).prepare([mail()])
        first = connect(server.url, read_timeout=0.2)
        assert classes(first.hand_off(request, always)) == [UNKNOWN]
        again = only(connect(server.url).hand_off(reloaded(request), always))
        assert (again.outcome, again.error_class) == (UNKNOWN, "concurrent_idempotent_requests")
        assert again.retry_after == timedelta(seconds=2)
        wait_until(lambda: len(server.accepted) == 1)
        server.processing_seconds = 0
        wait_until(lambda: classes(connect(server.url).hand_off(reloaded(request), always)) == [SENT])
        assert len(server.accepted) == 1


def test_the_keys_of_the_loopback_expire_after_a_day_as_the_real_ones_do(
    server: ResendLoopback, connect: Connect
) -> None:
    sender = connect(server.url)
    (request,) = sender.prepare([mail()])
    sender.hand_off(request, always)
    server.move_clock(23 * 3600)
    sender.hand_off(reloaded(request), always)
    assert len(server.accepted) == 1
    server.move_clock(2 * 3600)
    sender.hand_off(reloaded(request), always)
    assert len(server.accepted) == 2


def test_two_accounts_in_two_threads_never_mix(connect: Connect) -> None:
    with ResendLoopback(api_key="re_first") as one, ResendLoopback(api_key="re_second") as two:
        senders = (connect(one.url, api_key="re_first"), connect(two.url, api_key="re_second"))
        results: list[set[OutcomeClass | None]] = []

        def send(sender: ResendSender, first: int) -> None:
            results.extend(set(classes(hand_off_all(sender, [mail(first + number)]))) for number in range(30))

        threads = [threading.Thread(target=send, args=(senders[n % 2], n * 1000)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [{SENT}] * 120
        assert len(one.accepted) == len(two.accepted) == 60
        assert senders[0].account != senders[1].account
    assert resend_sdk.api_key is None or "re_" not in resend_sdk.api_key


def test_without_permit_nothing_is_called(server: ResendLoopback, connect: Connect) -> None:
    outcomes = hand_off_all(connect(server.url), mails(150), PermitFor(1))
    assert classes(outcomes) == [*[SENT] * 100, *[None] * 50]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("from_name", "expected"),
    [
        ("Ada via GuestGuard", "Ada via GuestGuard <events@guestguard.example>"),
        ("Zoë & Ödön", "Zoë & Ödön <events@guestguard.example>"),
        ("Smith, J. (host)", '"Smith, J. (host)" <events@guestguard.example>'),
        ('Eve" <eve@evil.example>\r\nBcc: x', '"Eve eve@evil.example Bcc: x" <events@guestguard.example>'),
        ("", "events@guestguard.example"),
    ],
)
def test_a_display_name_cannot_be_more_than_a_name(
    server: ResendLoopback, connect: Connect, from_name: str, expected: str
) -> None:
    outcome = only(hand_off_all(connect(server.url), [replace(mail(), from_name=from_name)]))
    assert outcome.outcome is SENT
    assert server.accepted[0].sender == expected


class TlsServer:
    """Speaks TLS with a certificate that nobody trusts."""

    def __enter__(self) -> "TlsServer":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._shake_hands, daemon=True)
        self._thread.start()
        return self

    def _shake_hands(self) -> None:
        connection, _ = self._socket.accept()
        try:
            self._context.wrap_socket(connection, server_side=True)
        except (ssl.SSLError, OSError):
            connection.close()

    def __exit__(self, *exception: object) -> None:
        self._thread.join(5)
        self._socket.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for_a_new_second() -> None:
    time.sleep(1.05 - time.monotonic() % 1)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
