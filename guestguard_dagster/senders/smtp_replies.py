"""What an SMTP server's reply means, by the stage it came at (RFC 5321, and the enhanced codes of RFC 3463). No I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.scrub import scrub

HARD_BOUNCE = "hard_bounce"
RELAY_DENIED = "relay_denied"


class Stage(StrEnum):
    """Where in a session a reply was given."""

    GREETING = "greeting"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"
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
        return self.code == 421


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

# The mailbox is full, or somebody's policy says no today: worth a bounded number of tries, never a suppression.
_WORTH_ANOTHER_TRY = re.compile(r"5\.2\.2|5\.3\.[12]|5\.7\.\d+")

_RETRY_TEMPORARY_LOGIN = timedelta(minutes=1)
_RETRY_QUOTA = timedelta(hours=1)


def classify(stage: Stage, reply: Reply, hide: Iterable[str | None] = (), duration_ms: int = 0) -> Outcome:
    """The outcome of a mail that the server refused with `reply`; `hide` is kept out of the detail.

    A refused recipient whose relay is denied comes back as `provider_wide` under `relay_denied`: whether that holds for
    the account or for this one recipient shows only beside the others of the group.
    """
    verdict, error_class, suppress, retry_after = _verdict(stage, reply)
    words = scrub(_ENHANCED.sub("", reply.text, count=1), hide)
    code = f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
    return Outcome(
        verdict,
        error_class=error_class,
        error_code=code,
        detail=f"the mail server refused at the {stage} stage: {code} {words}".rstrip(),
        retry_after=retry_after,
        suppress=suppress,
        duration_ms=duration_ms,
    )


_Verdict = tuple[OutcomeClass, str, str | None, timedelta | None]


def _verdict(stage: Stage, reply: Reply) -> _Verdict:
    code, enhanced = reply.code, reply.enhanced
    if stage is Stage.LOGIN:
        return _provider_wide("login_refused", _RETRY_TEMPORARY_LOGIN if code < 500 else None)
    if code in _AUTHENTICATION_CODES or enhanced in _AUTHENTICATION_ENHANCED:
        return _provider_wide("login_required")
    if enhanced == _QUOTA_ENHANCED:
        return _provider_wide("quota_exceeded", _RETRY_QUOTA)
    if code < 500:
        return OutcomeClass.TRANSIENT, f"{stage}_deferred", None, None
    if (code == 552 and enhanced != "5.2.2") or enhanced in {"5.3.4", "5.2.3"}:
        return OutcomeClass.PERMANENT, "message_too_large", None, None
    if stage is Stage.GREETING:
        return OutcomeClass.TRANSIENT, "greeting_refused", None, None
    if stage is Stage.SENDER:
        return _provider_wide("sender_refused")
    if _RELAY_WORDS.search(reply.text):
        return _provider_wide(RELAY_DENIED)
    return _recipient_verdict(stage, reply)


def _recipient_verdict(stage: Stage, reply: Reply) -> _Verdict:
    enhanced = reply.enhanced
    if enhanced is None:
        if reply.code == 553 or _NO_SUCH_MAILBOX_WORDS.search(reply.text):
            return OutcomeClass.PERMANENT, "no_such_mailbox", HARD_BOUNCE, None
        # Without an enhanced code, 554 and a refusal of the content are how filters say no.
        worth_another_try = reply.code == 554 or stage is Stage.CONTENT
    elif enhanced in _NO_SUCH_MAILBOX:
        return OutcomeClass.PERMANENT, "no_such_mailbox", HARD_BOUNCE, None
    else:
        worth_another_try = _WORTH_ANOTHER_TRY.fullmatch(enhanced) is not None
    if worth_another_try:
        return OutcomeClass.TRANSIENT, f"{stage}_refused_by_policy", None, None
    return OutcomeClass.PERMANENT, f"{stage}_refused", None, None


def _provider_wide(error_class: str, retry_after: timedelta | None = None) -> _Verdict:
    return OutcomeClass.PROVIDER_WIDE, error_class, None, retry_after
