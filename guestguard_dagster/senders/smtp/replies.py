"""What an SMTP server's reply means, by the stage it came at (RFC 5321, and the enhanced codes of RFC 3463). No I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from smtplib import SMTPServerDisconnected

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.scrub import scrub

HARD_BOUNCE = "hard_bounce"

# How long to wait first after a limit of the server, or where there is no server.
RETRY_LIMIT = timedelta(seconds=1)
RETRY_UNREACHABLE = timedelta(seconds=5)

_LONGEST_REPLY = 64 * 1024
_LINES_KEPT = 32


class Stage(StrEnum):
    """Where in a session a reply was given."""

    GREETING = "greeting"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of the server; `code` is -1 when it did not speak SMTP."""

    code: int
    text: str

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code, e.g. "5.1.1"."""
        found = _ENHANCED.match(self.text)
        return found.group(1) if found and found.group(1)[0] == str(self.code)[0] else None

    @property
    def is_completion(self) -> bool:
        return 200 <= self.code < 300

    @property
    def is_refusal(self) -> bool:
        return 400 <= self.code < 600

    @property
    def ends_the_session(self) -> bool:
        """The server closes the connection, or what it said was no reply: nothing it says from here on can be told."""
        return self.code in {421, -1}


class ReplyReader:
    """Puts a server's replies together from what arrives, one line or more each."""

    def __init__(self) -> None:
        self._unfinished = b""
        self._texts: list[str] = []

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are whole now. Raises OSError for one that has no end."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        replies = []
        for line in lines:
            reply, goes_on = _parsed(line)
            if goes_on:
                self._texts.append(reply.text)
                continue
            if self._texts:
                reply = Reply(reply.code, "\n".join((*self._texts, reply.text)))
                self._texts.clear()
            replies.append(reply)
        if len(self._unfinished) + sum(map(len, self._texts)) > _LONGEST_REPLY:
            raise SMTPServerDisconnected("a reply without an end")
        return replies


@lru_cache(_LINES_KEPT)
def _parsed(line: bytes) -> tuple[Reply, bool]:
    """One line, and whether more lines of its reply follow. Kept, since servers say the same to most mails."""
    code = int(line[:3]) if line[:3].isdigit() else -1
    return Reply(code, line[4:].decode("utf-8", "replace").strip()), code >= 0 and line[3:4] == b"-"


_ENHANCED = re.compile(r"\s*(\d\.\d{1,3}\.\d{1,3})\b")

# The mailbox does not exist, has moved for good, or its domain takes no mail at all.
_NO_SUCH_MAILBOX = frozenset({"5.1.1", "5.1.3", "5.1.6", "5.1.10"})
_NO_SUCH_MAILBOX_WORDS = re.compile(
    r"no such (user|mailbox|recipient|address)"
    r"|(user|recipient|mailbox|address) (is )?(unknown|not found|does ?n[o']t exist)"
    r"|unknown (user|recipient|mailbox|local part)|does not exist|no mailbox here",
    re.IGNORECASE,
)
_RELAY_WORDS = re.compile(
    r"\brelay(ing)?\b.*\b(denied|not (permitted|allowed)|prohibited)|(unable|refus\w+) to relay", re.I
)
_AUTHENTICATION_CODES = frozenset({530, 534, 535, 538})
_AUTHENTICATION_ENHANCED = frozenset({"5.7.8", "5.7.9", "5.7.11"})
_QUOTA_ENHANCED = "5.4.5"

# The server takes no more for now, whoever the mail is for.
_SERVER_LIMIT_ENHANCED = frozenset({"4.3.2", "4.4.5"})
_SERVER_LIMIT_WORDS = re.compile(
    r"\btoo many\b(?! hops)|\brate[ -]?limit|\bthrottl|\btoo (fast|quickly)|\bslow down", re.I
)
_ABOUT_AN_ADDRESS_OR_MAILBOX = ("4.1.", "4.2.")

# The mailbox is full, or somebody's policy says no today: worth a bounded number of tries, never a suppression.
_WORTH_ANOTHER_TRY = re.compile(r"5\.2\.2|5\.3\.[12]|5\.7\.\d+")

_RETRY_TEMPORARY_LOGIN = timedelta(minutes=1)
_RETRY_QUOTA = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Verdict:
    outcome: OutcomeClass
    error_class: str
    retry_after: timedelta | None = None
    suppress: str | None = None
    may_be_recipient: bool = False


def classify(stage: Stage, reply: Reply, hide: Iterable[str | None] = (), duration_ms: int = 0) -> Outcome:
    """The outcome of a mail that the server refused with `reply`; `hide` is kept out of the detail."""
    verdict = _verdict(stage, reply)
    words = scrub(_ENHANCED.sub("", reply.text, count=1), hide)
    code = f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
    return Outcome(
        verdict.outcome,
        error_class=verdict.error_class,
        error_code=code,
        detail=f"the mail server refused at the {stage} stage: {code} {words}".rstrip(),
        retry_after=verdict.retry_after,
        suppress=verdict.suppress,
        duration_ms=duration_ms,
        may_be_recipient=verdict.may_be_recipient,
    )


def _verdict(stage: Stage, reply: Reply) -> _Verdict:
    code, enhanced = reply.code, reply.enhanced
    if stage is Stage.LOGIN:
        return _provider_wide("login_refused", _RETRY_TEMPORARY_LOGIN if code < 500 else None)
    if code in _AUTHENTICATION_CODES or enhanced in _AUTHENTICATION_ENHANCED:
        return _provider_wide("login_required")
    if enhanced == _QUOTA_ENHANCED:
        return _provider_wide("quota_exceeded", _RETRY_QUOTA)
    if stage is Stage.GREETING:
        is_limit = 400 <= code < 500
        return _Verdict(
            OutcomeClass.UNAVAILABLE,
            "greeting_deferred" if is_limit else "greeting_refused",
            RETRY_LIMIT if is_limit else RETRY_UNREACHABLE,
        )
    if code < 500:
        if stage is Stage.SENDER or (code == 421 and stage is not Stage.CONTENT) or _is_limit_of_the_server(reply):
            return _Verdict(OutcomeClass.UNAVAILABLE, f"{stage}_deferred", RETRY_LIMIT)
        return _Verdict(OutcomeClass.TRANSIENT, f"{stage}_deferred")
    if (code == 552 and enhanced != "5.2.2") or enhanced in {"5.3.4", "5.2.3"}:
        return _Verdict(OutcomeClass.PERMANENT, "message_too_large")
    if stage is Stage.SENDER:
        return _provider_wide("sender_refused")
    if _RELAY_WORDS.search(reply.text):
        # The account may not send at all, or not to this one recipient: beside others, it shows.
        return _Verdict(OutcomeClass.PROVIDER_WIDE, "relay_denied", may_be_recipient=True)
    return _recipient_verdict(stage, reply)


def _is_limit_of_the_server(reply: Reply) -> bool:
    """Whether a 4xx says that the server takes no more for now, and nothing about this recipient or mail."""
    enhanced = reply.enhanced or ""
    if enhanced in _SERVER_LIMIT_ENHANCED:
        return True
    return not enhanced.startswith(_ABOUT_AN_ADDRESS_OR_MAILBOX) and bool(_SERVER_LIMIT_WORDS.search(reply.text))


def _recipient_verdict(stage: Stage, reply: Reply) -> _Verdict:
    enhanced = reply.enhanced
    if enhanced is None:
        if reply.code == 553 or _NO_SUCH_MAILBOX_WORDS.search(reply.text):
            return _Verdict(OutcomeClass.PERMANENT, "no_such_mailbox", suppress=HARD_BOUNCE)
        # Without an enhanced code, 554 and a refusal of the content are how filters say no.
        worth_another_try = reply.code == 554 or stage is not Stage.RECIPIENT
    elif enhanced in _NO_SUCH_MAILBOX:
        return _Verdict(OutcomeClass.PERMANENT, "no_such_mailbox", suppress=HARD_BOUNCE)
    else:
        worth_another_try = _WORTH_ANOTHER_TRY.fullmatch(enhanced) is not None
    if worth_another_try:
        return _Verdict(OutcomeClass.TRANSIENT, f"{stage}_refused_by_policy")
    return _Verdict(OutcomeClass.PERMANENT, f"{stage}_refused")


def _provider_wide(error_class: str, retry_after: timedelta | None = None) -> _Verdict:
    return _Verdict(OutcomeClass.PROVIDER_WIDE, error_class, retry_after)
