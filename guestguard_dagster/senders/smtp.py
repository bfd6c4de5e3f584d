"""Mail over SMTP: a group of mails spread over a few kept connections, one honest outcome for each."""

import hashlib
import ssl
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.rendering.addresses import AddressInvalid, utf8_address
from guestguard_dagster.senders.base import HandOff, LeaseLost, Mail, Permit, RateLimit
from guestguard_dagster.senders.composing import MailComposer
from guestguard_dagster.senders.grouping import groups_of
from guestguard_dagster.senders.smtp_connect import SessionUnavailable, SmtpAccess, tls_context
from guestguard_dagster.senders.smtp_replies import RELAY_DENIED, Stage
from guestguard_dagster.senders.smtp_session import ConnectionLost, Envelope, SmtpSession

GROUP_SIZE = 50

# What one member of a hand-off is after `prepare`: a mail for the wire, or why there can be none.
_Prepared = Envelope | Outcome


@dataclass(frozen=True, slots=True)
class _Payload:
    members: tuple[_Prepared, ...]


class _Group:
    """The mails of one hand-off: connections are dealt them, and write down what became of each."""

    def __init__(self, members: Sequence[_Prepared], connections: int) -> None:
        self.outcomes: list[Outcome | None] = [member if isinstance(member, Outcome) else None for member in members]
        self._waiting = deque((index, member) for index, member in enumerate(members) if isinstance(member, Envelope))
        # in a small group, what one connection took ahead would be missing at another
        self._is_large = len(self._waiting) > 2 * connections
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def deal(self, hand: deque[tuple[int, Envelope]], *, ahead: bool) -> bool:
        """Give an empty hand a mail, and one `ahead` in a large group; False when the hand stays empty."""
        with self._lock:
            if self._waiting and not hand:
                hand.append(self._waiting.popleft())
            if ahead and self._is_large and self._waiting and len(hand) == 1:
                hand.append(self._waiting.popleft())
        return bool(hand)

    def end(self, outcome: Outcome | None, hand: Iterable[tuple[int, Envelope]] = ()) -> None:
        """No mail is dealt any more; those that waited, and those in `hand`, get `outcome`.

        None says that they certainly never left.
        """
        with self._lock:
            for index, _ in (*hand, *self._waiting):
                self.outcomes[index] = outcome
            self._waiting.clear()

    def settled(self) -> list[Outcome | None]:
        """The outcomes, with "relay denied" read in the light of the others.

        Where the server took other mail of the group, it was this recipient that it would not relay to.
        """
        if not any(outcome and outcome.outcome is OutcomeClass.SENT for outcome in self.outcomes):
            return self.outcomes
        return [
            replace(outcome, outcome=OutcomeClass.PERMANENT) if outcome and _is_relay_denied(outcome) else outcome
            for outcome in self.outcomes
        ]


class _EarlyInput:
    """Whether the server takes a mail's commands behind the content of another, as it should (RFC 2920).

    Until one was taken, anything that goes wrong beside one ends the trial; later on, silence does.
    """

    def __init__(self) -> None:
        self.is_tried = True
        self._is_proven = False

    def learn(self, *, is_early: bool, brings_more: bool, outcome: Outcome) -> None:
        """From the outcome of a mail that `is_early`, or whose content `brings_more`."""
        self._is_proven = self._is_proven or is_early
        if brings_more and not self._is_proven and outcome.outcome is not OutcomeClass.SENT:
            self.is_tried = False

    def learn_of_loss(self, lost: ConnectionLost, *, is_early: bool) -> None:
        """From a connection that was lost before the content of a mail."""
        if is_early and (not self._is_proven or lost.error_class == TimeoutError.__name__):
            self.is_tried = False


class SmtpSender:
    """One account at one mail server. Not repeatable: a mail whose answer never came stays `unknown`."""

    provider = "smtp"
    batch_size = GROUP_SIZE
    repeatable = False
    overlaps = False

    def __init__(
        self, access: SmtpAccess, composer: MailComposer, *, connections: int = 4, mails_per_second: float | None = None
    ) -> None:
        """`connections` are kept open at most; a group is spread over them."""
        self.account = f"smtp:{access.host}:{access.port}:{_account_user(access.username)}"
        self.rate_limit = RateLimit(mails_per_second, "recipient") if mails_per_second else None
        self._access = access
        self._composer = composer
        self._tls: ssl.SSLContext = tls_context(access.ca_file)
        self._idle: deque[SmtpSession] = deque()
        self._early_input = _EarlyInput()
        # As many workers as connections, so that no bound on the sessions themselves is needed.
        self._workers = ThreadPoolExecutor(max_workers=connections, thread_name_prefix="smtp")
        self._connections = connections

    def prepare(self, items: Sequence[Mail]) -> list[HandOff]:
        return [
            HandOff(
                members=tuple(mail.delivery_id for mail in group),
                endpoint=f"{self._access.host}:{self._access.port}",
                body=None,
                payload=_Payload(tuple(self._envelope(mail) for mail in group)),
            )
            for group in groups_of(items, GROUP_SIZE)
        ]

    def hand_off(self, request: HandOff, permit: Permit) -> list[Outcome | None]:
        if not isinstance(request.payload, _Payload):
            raise ValueError(f"hand-off {request.key} was not prepared by this sender; SMTP cannot repeat a hand-off")
        group = _Group(request.payload.members, self._connections)
        work = [self._workers.submit(self._send_all, group, permit) for _ in range(min(self._connections, len(group)))]
        try:
            wait(work, return_when=FIRST_EXCEPTION)
            for worker in work:
                worker.result()
        except BaseException:
            group.end(None)
            wait(work)
            raise
        return group.settled()

    def close(self) -> None:
        self._workers.shutdown()
        while self._idle:
            self._idle.pop().quit()

    def _envelope(self, mail: Mail) -> _Prepared:
        try:
            recipient = utf8_address(mail.to_email)
        except AddressInvalid as problem:
            return Outcome(OutcomeClass.PERMANENT, error_class="invalid_address", detail=f"{problem}; correct it")
        needs_utf8 = not recipient.isascii()
        content = self._composer.compose(mail, smtputf8=needs_utf8)
        return Envelope(self._composer.from_email, recipient, dot_stuffed(content), needs_utf8)

    def _send_all(self, group: _Group, permit: Permit) -> None:
        """One worker: mail after mail over one session, until the group is empty or cannot go on."""
        session: SmtpSession | None = None
        hand: deque[tuple[int, Envelope]] = deque()
        try:
            while group.deal(hand, ahead=self._early_input.is_tried):
                if session is None or not session.is_open:
                    session = self._idle_session() or self._fresh_session(permit)
                outcome, session = self._send_first(hand, session, permit)
                index, _ = hand.popleft()
                group.outcomes[index] = outcome
                if outcome.outcome is OutcomeClass.PROVIDER_WIDE and not _is_relay_denied(outcome):
                    group.end(outcome, hand)
                    hand.clear()
        except SessionUnavailable as unavailable:
            group.end(unavailable.outcome, hand)
        except LeaseLost:
            group.end(None, hand)
        finally:
            if session is not None and session.is_free:
                self._idle.append(session)
            elif session is not None:
                session.drop()

    def _send_first(
        self, hand: Sequence[tuple[int, Envelope]], session: SmtpSession, permit: Permit
    ) -> tuple[Outcome, SmtpSession]:
        """The outcome, and the session that it came from. Raises SessionUnavailable where no mail can pass at all."""
        if session.was_used:
            try:
                return self._send_over(session, hand, permit), session
            except ConnectionLost:
                # Servers close connections that idled, or carried enough: neither they nor the mail are at fault.
                session = self._fresh_session(permit)
        try:
            return self._send_over(session, hand, permit), session
        except ConnectionLost as lost:
            if lost.stage is Stage.SENDER:
                raise SessionUnavailable(_not_taken(lost)) from None
            return _not_taken(lost), session

    def _send_over(self, session: SmtpSession, hand: Sequence[tuple[int, Envelope]], permit: Permit) -> Outcome:
        envelope = hand[0][1]
        following = hand[1][1] if len(hand) > 1 and self._early_input.is_tried else None
        is_early = session.has_announced(envelope)
        try:
            outcome = session.send(envelope, permit, following)
        except ConnectionLost as lost:
            self._early_input.learn_of_loss(lost, is_early=is_early)
            raise
        brings_more = following is not None and session.has_announced(following)
        self._early_input.learn(is_early=is_early, brings_more=brings_more, outcome=outcome)
        return outcome

    def _idle_session(self) -> SmtpSession | None:
        while True:
            try:
                session = self._idle.pop()
            except IndexError:
                return None
            if not session.is_stale:
                return session
            session.quit()

    def _fresh_session(self, permit: Permit) -> SmtpSession:
        permit()
        return SmtpSession(self._access, self._tls)


def dot_stuffed(content: bytes) -> bytes:
    """Content as DATA carries it (RFC 5321, 4.5.2), closed by the final dot."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")


def _not_taken(lost: ConnectionLost) -> Outcome:
    return Outcome(
        OutcomeClass.TRANSIENT,
        error_class=lost.error_class,
        detail=f"the mail server broke off at the {lost.stage} stage, before it had the content of the mail",
    )


def _is_relay_denied(outcome: Outcome) -> bool:
    return outcome.error_class == RELAY_DENIED


def _account_user(username: str | None) -> str:
    """The user as accounts are named: its local part, told apart by a digest where an address is cut."""
    if username is None:
        return "anonymous"
    user, at, _ = username.partition("@")
    return f"{user}-{hashlib.sha256(username.encode()).hexdigest()[:6]}" if at else user
