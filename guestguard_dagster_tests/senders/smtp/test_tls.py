"""SMTP over TLS: certificates are verified, nothing is said in the clear that should not be, logins are told apart."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email import message_from_bytes, policy
from pathlib import Path

import pytest
import trustme

from guestguard_dagster.domain.outcomes import OutcomeClass
from guestguard_dagster.senders.base import Attachment
from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.senders.smtp.connect import SmtpAccess
from guestguard_dagster.senders.smtp.sending import SmtpSender
from guestguard_dagster.settings import SmtpTls
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpFeatures, SmtpLoopback
from guestguard_dagster_tests.senders.items import classes, hand_off_all, mail, mails, only

USER, PASSWORD = "postmaster@guestguard.example", "correct horse"

Connect = Callable[..., SmtpSender]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_tls(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as stack:

        def sender(
            server: SmtpLoopback,
            tls: SmtpTls,
            ca_file: Path | None = None,
            *,
            user: str | None = None,
            password: str = "",
        ) -> SmtpSender:
            access = SmtpAccess(
                "localhost", server.port, tls, "client.test", user, password if user else None, ca_file=ca_file
            )
            made = SmtpSender(access, MailComposer("events@guestguard.example"), connections=2)
            stack.callback(made.close)
            return made

        yield sender


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_mail_passes_over_verified_tls_with_a_login(
    authority: trustme.CA, ca_file: Path, connect: Connect, tls: SmtpTls
) -> None:
    features = SmtpFeatures(
        tls=server_tls(authority), implicit_tls=tls == "implicit", users=((USER, PASSWORD),), pipelining=True
    )
    with SmtpLoopback(features) as server:
        sender = connect(server, tls, ca_file, user=USER, password=PASSWORD)
        assert set(classes(hand_off_all(sender, mails(10)))) == {OutcomeClass.SENT}
        # also waits for a session that was still being opened
        sender.close()
        assert len(server.accepted) == 10
        assert server.secure_connections == server.connections


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_mails_of_many_megabytes_pass_whole_over_tls(
    authority: trustme.CA, ca_file: Path, connect: Connect, tls: SmtpTls
) -> None:
    features = SmtpFeatures(tls=server_tls(authority), implicit_tls=tls == "implicit", size_limit=None)
    photo = Attachment("photo.jpg", "image/jpeg", bytes(range(256)) * 20_000)
    with SmtpLoopback(features) as server:
        sender = connect(server, tls, ca_file)
        outcomes = hand_off_all(sender, [mail(number, attachments=(photo,)) for number in range(1, 7)])
    assert classes(outcomes) == [OutcomeClass.SENT] * 6
    for accepted in server.accepted:
        [attached] = message_from_bytes(accepted.content, policy=policy.default).iter_attachments()
        assert attached.get_content() == photo.content


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("wrong", ["unknown authority", "another name"])
def test_a_certificate_that_cannot_be_verified_gets_nothing(
    authority: trustme.CA, ca_file: Path, connect: Connect, tls: SmtpTls, wrong: str
) -> None:
    context = server_tls(authority, "localhost" if wrong == "unknown authority" else "elsewhere.example")
    features = SmtpFeatures(tls=context, implicit_tls=tls == "implicit", users=((USER, PASSWORD),))
    with SmtpLoopback(features) as server:
        trusted = None if wrong == "unknown authority" else ca_file
        sender = connect(server, tls, trusted, user=USER, password=PASSWORD)
        outcomes = hand_off_all(sender, mails(3))
    assert set(classes(outcomes)) == {OutcomeClass.PROVIDER_WIDE}
    assert outcomes[0] is not None
    assert outcomes[0].error_class == "SSLCertVerificationError"
    assert outcomes[0].detail is not None
    assert "SMTP_CA_FILE" in outcomes[0].detail
    assert server.commands["AUTH"] == 0
    assert server.accepted == []


def test_starttls_is_never_given_up_for_plain_text(connect: Connect) -> None:
    with SmtpLoopback(SmtpFeatures(users=((USER, PASSWORD),))) as server:
        outcome = only(hand_off_all(connect(server, "starttls", user=USER, password=PASSWORD), [mail()]))
    assert (outcome.outcome, outcome.error_class) == (OutcomeClass.PROVIDER_WIDE, "SMTPNotSupportedError")
    assert server.commands["AUTH"] == server.commands["MAIL"] == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("535 5.7.8 bad credentials for postmaster@guestguard.example", {OutcomeClass.PROVIDER_WIDE}),
        ("534 5.7.9 application-specific password required", {OutcomeClass.PROVIDER_WIDE}),
        ("454 4.7.0 temporary authentication failure", {OutcomeClass.PROVIDER_WIDE}),
        ("421 4.7.0 too many logins", {OutcomeClass.UNAVAILABLE, None}),
    ],
)
def test_a_refused_login_is_about_the_account(connect: Connect, words: str, expected: set[OutcomeClass | None]) -> None:
    with SmtpLoopback(SmtpFeatures(users=((USER, PASSWORD),))) as server:
        server.faults.add(Fault(at="auth", do=FaultKind.REPLY, reply=words, times=None))
        outcomes = hand_off_all(connect(server, "none", user=USER, password="tr0ub4dor"), mails(20))
    assert set(classes(outcomes)) == expected
    assert server.commands["AUTH"] == 1, "a wrong login is not tried by every connection"
    assert "tr0ub4dor" not in repr(outcomes)
    assert "postmaster" not in repr(outcomes)
    assert server.accepted == []


def test_a_login_that_the_server_does_not_offer_is_said_plainly(connect: Connect) -> None:
    with SmtpLoopback() as server:
        outcome = only(hand_off_all(connect(server, "none", user=USER, password=PASSWORD), [mail()]))
    assert outcome.outcome is OutcomeClass.PROVIDER_WIDE
    assert outcome.detail is not None
    assert "SMTP_USERNAME" in outcome.detail


def test_the_account_is_named_without_secret_or_address(connect: Connect) -> None:
    with SmtpLoopback() as server:
        account = connect(server, "none", user=USER, password=PASSWORD).account
    assert account.startswith(f"smtp:localhost:{server.port}:postmaster-")
    assert "@" not in account
    assert PASSWORD not in account
