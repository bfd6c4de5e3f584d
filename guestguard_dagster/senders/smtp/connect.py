"""Opens a connection to an SMTP server: greeting, TLS, login. Whatever fails here, no mail has left."""

import smtplib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.scrub import scrub
from guestguard_dagster.senders.smtp.replies import RETRY_UNREACHABLE, Reply, Stage, classify
from guestguard_dagster.settings import SmtpTls


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """Seconds. `content` is how long the server may think about a mail that it has in full."""

    connect: float = 10
    command: float = 20
    content: float = 60


@dataclass(frozen=True, slots=True)
class SmtpAccess:
    """Where the server is and how to get in. `greeting_name` is who EHLO says we are."""

    host: str
    port: int
    tls: SmtpTls
    greeting_name: str
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    timeouts: SmtpTimeouts = SmtpTimeouts()

    @property
    def secrets(self) -> tuple[str | None, ...]:
        """What no text about this server may quote."""
        return (self.username, self.password)


class SessionLost(Exception):
    """There is no session, or no longer: nothing of a mail has left over it. `outcome` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error_class)
        self.outcome = outcome


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates and host names are verified; `ca_file` adds a private authority to the system's."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def open_client(access: SmtpAccess, context: ssl.SSLContext) -> smtplib.SMTP:
    """A client that is greeted, secured as asked and logged in. Raises SessionLost."""
    try:
        client = _connect(access, context)
    except (OSError, smtplib.SMTPException) as error:
        raise SessionLost(_outcome_of(error, access)) from None
    try:
        _greet(client)
        if access.tls == "starttls":
            client.starttls(context=context)
            _greet(client)
        if access.username is not None:
            _log_in(client, access)
    except (OSError, smtplib.SMTPException) as error:
        client.close()
        raise SessionLost(_outcome_of(error, access)) from None
    except BaseException:
        client.close()
        raise
    return client


def name_of(error: BaseException) -> str:
    """The real cause's class: smtplib hides timeouts and resets in its own SMTPServerDisconnected."""
    return type(error.__context__ if isinstance(error.__context__, OSError) else error).__name__


def _connect(access: SmtpAccess, context: ssl.SSLContext) -> smtplib.SMTP:
    timeout, name = access.timeouts.connect, access.greeting_name
    if access.tls == "implicit":
        return smtplib.SMTP_SSL(access.host, access.port, local_hostname=name, timeout=timeout, context=context)
    return smtplib.SMTP(access.host, access.port, local_hostname=name, timeout=timeout)


def _greet(client: smtplib.SMTP) -> None:
    code, text = client.ehlo()
    if 500 <= code < 600:
        code, text = client.helo()
    if not 200 <= code < 300:
        raise smtplib.SMTPHeloError(code, text)


def _log_in(client: smtplib.SMTP, access: SmtpAccess) -> None:
    try:
        client.login(access.username or "", access.password or "")
    except UnicodeError:
        raise smtplib.SMTPNotSupportedError("the user name or password has characters that AUTH cannot carry") from None


def _outcome_of(error: Exception, access: SmtpAccess) -> Outcome:
    where = f"{access.host}:{access.port}"
    if isinstance(error, smtplib.SMTPResponseException):
        return _refused(error, access.secrets)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Outcome(
            OutcomeClass.PROVIDER_WIDE,
            error_class=name_of(error),
            detail=f"the certificate of the mail server {where} cannot be verified: {error.verify_message}. "
            "Name a private authority in SMTP_CA_FILE, or correct SMTP_HOST",
        )
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Outcome(
            OutcomeClass.PROVIDER_WIDE,
            error_class=name_of(error),
            detail=f"the mail server {where} does not offer what SMTP_TLS or SMTP_USERNAME asks: {scrub(str(error))}",
        )
    if type(error) is smtplib.SMTPException:
        # smtplib's own word for "none of the server's AUTH methods is known here".
        return Outcome(OutcomeClass.PROVIDER_WIDE, error_class=name_of(error), detail=f"login at {where}: {error}")
    return Outcome(
        OutcomeClass.UNAVAILABLE,
        error_class=name_of(error),
        retry_after=RETRY_UNREACHABLE,
        detail=f"the mail server {where} could not be reached, or broke off before any mail: "
        f"{scrub(str(error), access.secrets)}",
    )


def _refused(error: smtplib.SMTPResponseException, hide: Iterable[str | None]) -> Outcome:
    text = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
    reply = Reply(error.smtp_code, text)
    at_login = isinstance(error, smtplib.SMTPAuthenticationError) and not reply.ends_the_session
    return classify(Stage.LOGIN if at_login else Stage.GREETING, reply, hide)
