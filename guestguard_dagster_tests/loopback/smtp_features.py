"""What the SMTP server on loopback offers, and the mail that it took."""

import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AcceptedMail:
    """One mail that the server took: `connection` counts from 1; `content` is as it was before dot-stuffing."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    connection: int


@dataclass(frozen=True, slots=True)
class SmtpFeatures:
    """What the server offers. `tls` with `implicit_tls` speaks TLS from the first byte, else it offers STARTTLS.

    `greylisting` defers the first RCPT for every recipient. `idle_seconds` closes a connection that says nothing for so
    long; `mails_per_connection` ends it with 421 after so many. `early_input` is what became of commands that came
    with the content of a mail, behind its final dot: they are "taken", as RFC 2920 asks, or thrown away, in "silence"
    or with this reply for each of them.

    Of limits: `most_connections` are open at a time, one more is greeted with 421; of `mails_per_period`, a number of
    mails and a number of seconds, what goes beyond is answered `over_limit` at MAIL.
    """

    pipelining: bool = True
    smtputf8: bool = False
    size_limit: int | None = 10_000_000
    users: tuple[tuple[str, str], ...] = ()
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    greylisting: bool = False
    idle_seconds: float | None = None
    mails_per_connection: int | None = None
    early_input: str = "taken"
    most_connections: int | None = None
    mails_per_period: tuple[int, float] | None = None
    over_limit: str = "450 4.7.1 Error: too much mail from client"


USUAL = SmtpFeatures()
