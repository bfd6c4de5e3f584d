"""One open SMTP session, used for mail after mail.

The point of no return is the content of a mail: until it is written, nothing has left, whatever breaks. Where the
server offers PIPELINING (RFC 2920), MAIL, RCPT and DATA go out in one piece, and behind the content of the mail before;
the content itself always waits for the server's 354.
"""

import contextlib
import smtplib
import socket
import ssl
import time
from dataclasses import dataclass

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import Permit
from guestguard_dagster.senders.scrub import address_parts
from guestguard_dagster.senders.smtp_connect import SmtpAccess, name_of, open_client
from guestguard_dagster.senders.smtp_replies import Reply, Stage, classify

_LONGEST_IDLE_SECONDS = 30
_ANNOUNCING = (Stage.SENDER, Stage.RECIPIENT, Stage.CONTENT)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One mail on the wire: who from, who for, and the content, dot-stuffed and closed by its final dot."""

    sender: str
    recipient: str
    content: bytes
    needs_utf8: bool = False


class ConnectionLost(Exception):
    """The connection broke before any content of this mail was written: it certainly never left."""

    def __init__(self, error_class: str, stage: Stage) -> None:
        super().__init__(f"{error_class} at the {stage} stage")
        self.error_class = error_class
        self.stage = stage


class SmtpSession:
    """Not thread-safe: one worker holds it at a time."""

    def __init__(self, access: SmtpAccess, context: ssl.SSLContext) -> None:
        """Open it. Raises SessionUnavailable, with nothing sent."""
        self._timeouts = access.timeouts
        self._client = open_client(access, context)
        features = self._client.esmtp_features
        self._pipelining = "pipelining" in features
        self._accepts_8bit = "8bitmime" in features
        self._accepts_utf8 = "smtputf8" in features
        self._declares_size = "size" in features
        self._largest_mail = int(features["size"]) if features.get("size", "").isdigit() else 0
        if self._client.sock is None:
            raise RuntimeError("smtplib opened a session without a socket")
        self._socket: socket.socket = self._client.sock
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._last_used = time.monotonic()
        # the mail that was announced behind the content of another: the next to be sent
        self._announced: Envelope | None = None
        self.was_used = False

    @property
    def is_open(self) -> bool:
        return self._client.sock is not None

    @property
    def is_free(self) -> bool:
        """Open, and not in the middle of anything: any mail may come next."""
        return self.is_open and self._announced is None

    @property
    def is_stale(self) -> bool:
        """Idle for so long that the server, or a firewall in between, may have forgotten it without a word."""
        return time.monotonic() - self._last_used > _LONGEST_IDLE_SECONDS

    def has_announced(self, envelope: Envelope) -> bool:
        """This mail's MAIL, RCPT and DATA went out behind the content of the one before."""
        return self._announced is envelope

    def send(self, envelope: Envelope, permit: Permit, following: Envelope | None = None) -> Outcome:
        """Hand one mail over; look at `is_open` before the next.

        `following` is announced behind it where that is possible; unless the session `is_free`, it has to be sent next.
        Raises ConnectionLost, or what `permit` raises: then nothing of this mail has left, and the session is closed.
        """
        started = time.perf_counter()
        if not (self.is_free or self.has_announced(envelope)):
            self.drop()
            raise RuntimeError("this session waits for another mail, which was announced already")
        impossible = self._cannot_carry(envelope)
        if impossible is not None:
            return impossible
        try:
            refusal = self._announce(envelope)
            if refusal is None:
                permit()
                return self._hand_over(envelope, following, started)
        except BaseException:
            self.drop()
            raise
        stage, reply = refusal
        return classify(stage, reply, address_parts(envelope.recipient), _milliseconds_since(started))

    def drop(self) -> None:
        """Close without a word, at any stage: a mail whose final dot was not written is void."""
        self._client.close()

    def quit(self) -> None:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            self._socket.settimeout(self._timeouts.command)
            self._socket.sendall(b"QUIT\r\n")
        self._client.close()

    def _cannot_carry(self, envelope: Envelope) -> Outcome | None:
        if 0 < self._largest_mail < len(envelope.content):
            return Outcome(
                OutcomeClass.PERMANENT,
                error_class="message_too_large",
                detail=f"the mail has {len(envelope.content)} bytes; the mail server takes {self._largest_mail}",
            )
        if envelope.needs_utf8 and not self._accepts_utf8:
            return Outcome(
                OutcomeClass.PERMANENT,
                error_class="smtputf8_not_offered",
                detail="the address has letters beyond ASCII before the @, and the mail server does not offer SMTPUTF8",
            )
        return None

    def _announce(self, envelope: Envelope) -> tuple[Stage, Reply] | None:
        """MAIL, RCPT and DATA; None when the server waits for the content, else the first refusal, rolled back."""
        is_announced, self._announced = self.has_announced(envelope), None
        commands = {} if is_announced else self._commands(envelope)
        stage, refusal, content_awaited = Stage.SENDER, None, False
        try:
            self._socket.settimeout(self._timeouts.command)
            if self._pipelining and not is_announced:
                self._socket.sendall(b"".join(commands.values()))
            for stage in _ANNOUNCING:
                if not self._pipelining:
                    self._socket.sendall(commands[stage])
                reply = self._read_reply()
                if reply.ends_the_session:
                    raise ConnectionLost("421", stage)
                if is_announced and stage is Stage.SENDER and not reply.is_completion:
                    # It may be the early input that the server refuses: the mail deserves a session of its own.
                    raise ConnectionLost(str(reply.code), stage)
                content_awaited = stage is Stage.CONTENT and reply.code == 354
                if refusal is None and not (content_awaited or (stage is not Stage.CONTENT and reply.is_completion)):
                    refusal = (stage, reply)
                    if not self._pipelining:
                        break
            if refusal is not None:
                self._roll_back(content_awaited)
        except (OSError, smtplib.SMTPException) as error:
            raise ConnectionLost(name_of(error), stage) from None
        return refusal

    def _roll_back(self, content_awaited: bool) -> None:
        """Make room for the next mail, or close the session; the refusal stands either way."""
        try:
            if content_awaited:
                # The server opened DATA without a recipient: an empty mail ends that, for nobody.
                self._socket.sendall(b".\r\n")
                self._read_reply()
            self._socket.sendall(b"RSET\r\n")
            if not self._read_reply().is_completion:
                self.drop()
        except (OSError, smtplib.SMTPException):
            self.drop()

    def _hand_over(self, envelope: Envelope, following: Envelope | None, started: float) -> Outcome:
        content = envelope.content
        if following is not None and self._pipelining and self._cannot_carry(following) is None:
            content += b"".join(self._commands(following).values())
            self._announced = following
        try:
            self._socket.settimeout(self._timeouts.content)
            self._socket.sendall(content)
            reply = self._read_reply()
        except (OSError, smtplib.SMTPException) as error:
            self.drop()
            return Outcome(
                OutcomeClass.UNKNOWN,
                error_class=name_of(error),
                detail="the connection to the mail server broke, or fell silent, while it had the content of the mail",
                duration_ms=_milliseconds_since(started),
            )
        self._last_used = time.monotonic()
        self.was_used = True
        if reply.is_completion:
            return Outcome(OutcomeClass.SENT, duration_ms=_milliseconds_since(started))
        if reply.ends_the_session or not reply.is_refusal:
            self.drop()
        if not reply.is_refusal:
            return Outcome(
                OutcomeClass.UNKNOWN,
                error_class="unreadable_reply",
                detail="the mail server's reply to the content of the mail could not be read",
                duration_ms=_milliseconds_since(started),
            )
        return classify(Stage.CONTENT, reply, address_parts(envelope.recipient), _milliseconds_since(started))

    def _commands(self, envelope: Envelope) -> dict[Stage, bytes]:
        return {
            Stage.SENDER: self._mail_command(envelope),
            Stage.RECIPIENT: f"RCPT TO:<{envelope.recipient}>\r\n".encode(),
            Stage.CONTENT: b"DATA\r\n",
        }

    def _mail_command(self, envelope: Envelope) -> bytes:
        command = f"MAIL FROM:<{envelope.sender}>"
        if self._declares_size:
            command += f" SIZE={len(envelope.content)}"
        if self._accepts_8bit and not envelope.content.isascii():
            command += " BODY=8BITMIME"
        if envelope.needs_utf8:
            command += " SMTPUTF8"
        return command.encode() + b"\r\n"

    def _read_reply(self) -> Reply:
        code, text = self._client.getreply()
        return Reply(code, text.decode("utf-8", "replace"))


def _milliseconds_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
