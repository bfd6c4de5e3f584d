"""One open SMTP session, used for mail after mail, and never waited for: it goes on when its socket is ready.

The point of no return is the content of a mail: until it is written, nothing has left, whatever breaks. Where the
server offers PIPELINING (RFC 2920), MAIL, RCPT and DATA go out in one piece, and behind the content of the mail before;
the content itself always waits for the server's 354.
"""

import contextlib
import math
import smtplib
import ssl
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import Permit, TimeIsUp
from guestguard_dagster.senders.scrub import address_parts
from guestguard_dagster.senders.smtp.connect import SessionLost, SmtpAccess, name_of, open_client
from guestguard_dagster.senders.smtp.replies import RETRY_UNREACHABLE, Reply, ReplyReader, Stage, classify

_LONGEST_IDLE_SECONDS = 30
_ANNOUNCING = (Stage.SENDER, Stage.RECIPIENT, Stage.DATA)
# More than a TLS record holds, so that TLS keeps nothing back that a selector could not see.
_MOST_READ = 65536
_NOTHING = memoryview(b"")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Envelope:
    """One mail on the wire: who from, who for, and the content, dot-stuffed and closed by its final dot."""

    sender: str
    recipient: str
    content: bytes
    needs_utf8: bool = False


# How a mail is carried: it yields the seconds that the server may take for its next reply, and is sent that reply.
_Conversation = Generator[float, Reply, Outcome]
_RollingBack = Generator[float, Reply, None]


class EarlyInput:
    """Whether the server takes a mail's commands behind the content of another, as it should (RFC 2920).

    Until one was taken, anything that goes wrong beside one ends the trial; later on, silence does.
    """

    def __init__(self) -> None:
        self.is_tried = True
        self._is_proven = False

    def was_taken(self) -> None:
        self._is_proven = True

    def may_have_hurt(self, *, was_silent: bool = False) -> None:
        if was_silent or not self._is_proven:
            self.is_tried = False


class SmtpSession:
    """Not thread-safe: one hand-off holds it at a time."""

    def __init__(self, access: SmtpAccess, context: ssl.SSLContext, early_input: EarlyInput) -> None:
        """Opens it, waiting for the server. Raises SessionLost."""
        client = open_client(access, context)
        if client.sock is None:
            raise RuntimeError("smtplib opened a session without a socket")
        if client.file is not None:
            client.file.close()
        self.socket, client.sock, client.file = client.sock, None, None
        self.socket.setblocking(False)
        self._timeouts = access.timeouts
        self._pipelining = client.has_extn("pipelining")
        self._accepts_utf8 = client.has_extn("smtputf8")
        self._accepts_8bit = client.has_extn("8bitmime")
        self._declares_size = client.has_extn("size")
        size = client.esmtp_features.get("size", "")
        # RFC 1870: no number, or zero, is no limit.
        self._largest_mail = int(size) if size.isascii() and size.isdigit() else 0
        self._early_input = early_input
        # The mail whose commands went out behind the content of the one before: the next to be sent.
        self._announced: Envelope | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._unsent = _NOTHING
        self._mail: _Conversation | None = None
        self._seconds = self.deadline = math.inf
        self._last_used = time.monotonic()
        self.is_open = True
        self.was_used = False

    @property
    def wants_to_write(self) -> bool:
        return len(self._unsent) > 0

    @property
    def is_free(self) -> bool:
        """Open, and not in the middle of anything: any mail may come next."""
        return self.is_open and self._announced is None

    @property
    def is_reusable(self) -> bool:
        """Not idle for so long that a firewall may have forgotten it, and nothing came of the server meanwhile."""
        if time.monotonic() - self._last_used > _LONGEST_IDLE_SECONDS:
            return False
        try:
            self.socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        # The end of the connection, or a word that announces it.
        return False

    def start(self, envelope: Envelope, permit: Permit, following: Envelope | None = None) -> Outcome | None:
        """Begin to hand one mail over; its outcome, when it is known already. Raises as `proceed` does.

        `following` is announced behind it where that is possible; unless the session `is_free`, it has to be sent next.
        """
        if self._announced not in (None, envelope):
            self.drop()
            raise RuntimeError("this session waits for another mail, which was announced already")
        impossible = self._cannot_carry(envelope) if self._announced is None else None
        if impossible is not None:
            return impossible
        self._mail = self._carry(envelope, permit, following)
        self._go_on(next, self._mail)
        return self._answer()

    def proceed(self) -> Outcome | None:
        """Go on with the mail, now that the socket is ready; its outcome once it is over.

        Raises SessionLost, or what `permit` raises: then nothing of this mail has left. Look at `is_open` before the
        next mail.
        """
        try:
            self._flush()
            self._receive()
        except OSError as error:
            return self._fail(error)
        return self._answer()

    def time_out(self) -> Outcome | None:
        """The server let `deadline` pass. Raises as `proceed` does."""
        return self._fail(TimeoutError())

    def drop(self) -> None:
        """Close without a word, at any stage: a mail whose final dot was not written is void."""
        self.is_open = False
        self.socket.close()

    def quit(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.send(b"QUIT\r\n")
        self.drop()

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

    def _carry(self, envelope: Envelope, permit: Permit, following: Envelope | None) -> _Conversation:
        """MAIL, RCPT and DATA, and the content when the server waits for it; else the first refusal is rolled back."""
        started = time.perf_counter()
        is_announced, self._announced = self._announced is not None, None
        commands = () if is_announced else self._commands(envelope)
        stage, refusal, content_awaited = Stage.SENDER, None, False
        try:
            if self._pipelining and not is_announced:
                self._write(b"".join(commands))
            for step, stage in enumerate(_ANNOUNCING):
                if not self._pipelining:
                    self._write(commands[step])
                reply = yield self._timeouts.command
                content_awaited = stage is Stage.DATA and reply.code == 354
                if refusal is not None or content_awaited or (stage is not Stage.DATA and reply.is_completion):
                    continue
                if stage is Stage.SENDER and (is_announced or (self.was_used and reply.code < 500)):
                    # It may be the early input that is refused, or one mail more: a session of its own will tell.
                    raise smtplib.SMTPServerDisconnected("MAIL is refused on a session that carried mail before")
                refusal = reply, stage
                if reply.ends_the_session or not self._pipelining:
                    break
            if refusal is not None:
                yield from self._roll_back(reply, content_awaited)
        except OSError as error:
            self.drop()
            if is_announced:
                self._early_input.may_have_hurt(was_silent=isinstance(error, TimeoutError))
            if refusal is None:
                raise SessionLost(_not_taken(error, stage)) from None
        if is_announced:
            self._early_input.was_taken()
        if refusal is None:
            try:
                permit()
            except TimeIsUp:
                following = None
            return (yield from self._hand_over(envelope, following, started))
        reply, stage = refusal
        outcome = classify(stage, reply, address_parts(envelope.recipient), _milliseconds_since(started))
        if reply.ends_the_session:
            raise SessionLost(outcome)
        return outcome

    def _roll_back(self, last: Reply, content_awaited: bool) -> _RollingBack:
        """Make room for the next mail, or close the session; the refusal stands either way."""
        if last.ends_the_session:
            self.drop()
            return
        if content_awaited:
            # The server opened DATA without a recipient: an empty mail ends that, for nobody.
            self._write(b".\r\n")
            yield self._timeouts.command
        self._write(b"RSET\r\n")
        reply = yield self._timeouts.command
        if not reply.is_completion:
            self.drop()

    def _hand_over(self, envelope: Envelope, following: Envelope | None, started: float) -> _Conversation:
        content = envelope.content
        if following is not None and self._may_announce(following):
            content += b"".join(self._commands(following))
            self._announced = following
        try:
            self._write(content)
            reply = yield self._timeouts.content
        except OSError as error:
            self.drop()
            if self._announced is not None:
                self._early_input.may_have_hurt()
            return Outcome(
                OutcomeClass.UNKNOWN,
                error_class=name_of(error),
                detail="the connection to the mail server broke, or fell silent, while it had the content of the mail",
                duration_ms=_milliseconds_since(started),
            )
        self._last_used = time.monotonic()
        self.was_used = True
        # A server that answers before it has read everything cannot be followed any further.
        was_heard_out = not self._unsent
        if reply.is_completion and was_heard_out:
            return _sent(_milliseconds_since(started))
        if self._announced is not None:
            self._early_input.may_have_hurt()
        if reply.ends_the_session or not reply.is_refusal or not was_heard_out:
            self.drop()
        if not reply.is_refusal:
            return Outcome(
                OutcomeClass.UNKNOWN,
                error_class="unreadable_reply",
                detail="the mail server's reply to the content of the mail could not be read",
                duration_ms=_milliseconds_since(started),
            )
        return classify(Stage.CONTENT, reply, address_parts(envelope.recipient), _milliseconds_since(started))

    def _may_announce(self, following: Envelope) -> bool:
        return self._pipelining and self._early_input.is_tried and self._cannot_carry(following) is None

    def _commands(self, envelope: Envelope) -> tuple[bytes, bytes, bytes]:
        return self._mail_command(envelope), f"RCPT TO:<{envelope.recipient}>\r\n".encode(), b"DATA\r\n"

    def _mail_command(self, envelope: Envelope) -> bytes:
        command = f"MAIL FROM:<{envelope.sender}>"
        if self._declares_size:
            command += f" SIZE={len(envelope.content)}"
        if self._accepts_8bit and not envelope.content.isascii():
            command += " BODY=8BITMIME"
        if envelope.needs_utf8:
            command += " SMTPUTF8"
        return command.encode() + b"\r\n"

    def _answer(self) -> Outcome | None:
        """Go on as far as what the server said allows."""
        outcome = None
        while self._replies and self._mail is not None:
            outcome = self._go_on(self._mail.send, self._replies.popleft())
        if self._replies and self._announced is None:
            # More than was asked for: the replies to come could be taken for the wrong ones.
            self.drop()
        return outcome

    def _go_on(self, step: Callable[[T], float], what: T) -> Outcome | None:
        """One step of the mail; its outcome, when that was the last."""
        try:
            self._seconds = step(what)
        except StopIteration as over:
            self._mail, self.deadline = None, math.inf
            outcome: Outcome = over.value
            return outcome
        except BaseException:
            self.drop()
            raise
        self.deadline = time.monotonic() + self._seconds
        return None

    def _fail(self, error: OSError) -> Outcome | None:
        if self._mail is None:
            raise RuntimeError("this session carries no mail") from error
        return self._go_on(self._mail.throw, error)

    def _write(self, data: bytes) -> None:
        if self._unsent:
            raise smtplib.SMTPServerDisconnected("the server answers before it has read everything")
        self._unsent = memoryview(data)
        self._flush()

    def _flush(self) -> None:
        if not self._unsent:
            return
        try:
            sent = self.socket.send(self._unsent)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return
        self._unsent = self._unsent[sent:]
        self.deadline = time.monotonic() + self._seconds

    def _receive(self) -> None:
        try:
            data = self.socket.recv(_MOST_READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        if not data:
            raise smtplib.SMTPServerDisconnected("the server closed the connection")
        self._replies.extend(self._reader.feed(data))


@lru_cache(1024)
def _sent(duration_ms: int) -> Outcome:
    return Outcome(OutcomeClass.SENT, duration_ms=duration_ms)


def _not_taken(error: OSError, stage: Stage) -> Outcome:
    """The connection broke before the server had the content; at MAIL already, that is about no recipient."""
    is_about_none = stage is Stage.SENDER
    return Outcome(
        OutcomeClass.UNAVAILABLE if is_about_none else OutcomeClass.TRANSIENT,
        error_class=name_of(error),
        retry_after=RETRY_UNREACHABLE if is_about_none else None,
        detail=f"the mail server broke off at the {stage} stage, before it had the content of the mail",
    )


def _milliseconds_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
