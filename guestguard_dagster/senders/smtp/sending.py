"""Mail over SMTP: a batch of mails spread over a few kept connections, one honest outcome for each."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.rendering.addresses import AddressInvalid, utf8_address
from guestguard_dagster.senders.base import HandOff, Mail, Permit, RateLimit
from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.senders.smtp.batch import SmtpBatch
from guestguard_dagster.senders.smtp.connect import SmtpAccess
from guestguard_dagster.senders.smtp.connections import SmtpConnections
from guestguard_dagster.senders.smtp.session import Envelope

BATCH_SIZE = 100

# Found by a pattern in half the time that bytes.replace needs to see that there is none.
_DOT_THAT_BEGINS_A_LINE = re.compile(rb"\r\n\.")

# What one member of a hand-off is after `prepare`: a mail for the wire, or why there can be none.
_Prepared = Envelope | Outcome


@dataclass(frozen=True, slots=True)
class _Payload:
    members: tuple[_Prepared, ...]


class SmtpSender:
    """One account at one mail server. Not repeatable: a mail whose answer never came stays `unknown`."""

    provider = "smtp"
    batch_size = BATCH_SIZE
    repeatable = False
    overlaps = False

    def __init__(
        self, access: SmtpAccess, composer: MailComposer, *, connections: int = 4, mails_per_second: float | None = None
    ) -> None:
        """`connections` are kept open at most; a batch is spread over them."""
        self.account = f"smtp:{access.host}:{access.port}:{_account_user(access.username)}"
        self.rate_limit = RateLimit(mails_per_second, "recipient") if mails_per_second else None
        self._access = access
        self._composer = composer
        self._connections = SmtpConnections(access, connections)

    def prepare(self, items: Sequence[Mail]) -> list[HandOff]:
        return [
            HandOff(
                members=tuple(mail.delivery_id for mail in items),
                endpoint=f"{self._access.host}:{self._access.port}",
                body=None,
                payload=_Payload(tuple(self._envelope(mail) for mail in items)),
            )
        ]

    def hand_off(self, request: HandOff, permit: Permit) -> list[Outcome | None]:
        if not isinstance(request.payload, _Payload):
            raise ValueError(f"hand-off {request.key} was not prepared by this sender; SMTP cannot repeat a hand-off")
        return SmtpBatch(request.payload.members, self._connections, permit).run()

    def close(self) -> None:
        self._connections.close()

    def _envelope(self, mail: Mail) -> _Prepared:
        try:
            recipient = utf8_address(mail.to_email)
        except AddressInvalid as problem:
            return Outcome(OutcomeClass.PERMANENT, error_class="invalid_address", detail=f"{problem}; correct it")
        needs_utf8 = not recipient.isascii()
        content = self._composer.compose(mail, smtputf8=needs_utf8)
        return Envelope(self._composer.from_email, recipient, dot_stuffed(content), needs_utf8)


def dot_stuffed(content: bytes) -> bytes:
    """Content as DATA carries it (RFC 5321, 4.5.2), closed by the final dot."""
    stuffed = _DOT_THAT_BEGINS_A_LINE.sub(b"\r\n..", content)
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")


def _account_user(username: str | None) -> str:
    """The user as accounts are named: its local part, told apart by a digest where an address is cut."""
    if username is None:
        return "anonymous"
    user, at, _ = username.partition("@")
    return f"{user}-{hashlib.sha256(username.encode()).hexdigest()[:6]}" if at else user
