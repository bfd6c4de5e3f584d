"""One hand-off: its mails are spread over the account's connections, by one thread that goes wherever a reply came."""

import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import LeaseLost, Permit, TimeIsUp
from guestguard_dagster.senders.smtp.connect import SessionLost
from guestguard_dagster.senders.smtp.connections import SmtpConnections
from guestguard_dagster.senders.smtp.session import Envelope, SmtpSession

# How often to look for what makes no socket ready: a deadline, a session that was opened, one that came free.
_GLANCE_SECONDS = 0.1
_SHORT_GLANCE_SECONDS = 0.01
_READ_OR_WRITE = selectors.EVENT_READ | selectors.EVENT_WRITE


class SmtpBatch:
    """Run it once. Its members are mails, or outcomes that are known already."""

    def __init__(self, members: Sequence[Envelope | Outcome], connections: SmtpConnections, permit: Permit) -> None:
        self._envelopes = {index: each for index, each in enumerate(members) if isinstance(each, Envelope)}
        self._connections = connections
        self._permit = permit
        # None: certainly never left.
        self._outcomes: list[Outcome | None] = [each if isinstance(each, Outcome) else None for each in members]
        self._waiting = deque(self._envelopes)
        # The mail that each session carries.
        self._busy: dict[SmtpSession, int] = {}
        # The mail that comes next over a session, and is announced ahead where the server takes that.
        self._ahead: dict[SmtpSession, int] = {}
        # With the mail that a session is opened for, because its last one turned out to be closed.
        self._openings: dict[Future[SmtpSession], int | None] = {}
        self._selector = selectors.DefaultSelector()
        self._watched: dict[SmtpSession, int] = {}
        self._is_over = False
        self._glanced_at = 0.0

    def run(self) -> list[Outcome | None]:
        try:
            while self._waiting or self._busy or any(index is not None for index in self._openings.values()):
                self._use_more_sessions()
                self._wait()
                self._look_at_openings()
        finally:
            for session in list(self._busy):
                session.drop()
                self._give_back(session)
            for opening in self._openings:
                self._connections.leave(opening)
            self._selector.close()
        return self._outcomes

    def _use_more_sessions(self) -> None:
        """Take what is idle, or open more; the first one alone, for it shows whether the server has any."""
        while self._waiting:
            session = self._connections.take()
            if session is not None:
                self._use(session)
            elif (self._openings and not self._busy) or not self._open_another():
                return

    def _open_another(self, index: int | None = None) -> bool:
        """Begin to open a session, for the mail at `index` in the first place; False where there is room for none."""
        opening = self._connections.open() if self._connections.has_room and self._is_permitted() else None
        if opening is not None:
            self._openings[opening] = index
        return opening is not None

    def _wait(self) -> None:
        if self._busy:
            seconds = _SHORT_GLANCE_SECONDS if self._openings else _GLANCE_SECONDS
            for key, _ in self._selector.select(seconds):
                session: SmtpSession = key.data
                self._advance(session, session.proceed)
            self._look_at_deadlines()
        elif self._openings:
            wait(self._openings, timeout=_GLANCE_SECONDS, return_when=FIRST_COMPLETED)
        elif self._waiting:
            self._connections.wait_for_change(_GLANCE_SECONDS)

    def _look_at_deadlines(self) -> None:
        now = time.monotonic()
        if now - self._glanced_at < _GLANCE_SECONDS:
            return
        self._glanced_at = now
        for session in [each for each in self._busy if each.deadline < now]:
            self._advance(session, session.time_out)

    def _look_at_openings(self) -> None:
        for opening in [each for each in self._openings if each.done()]:
            index = self._openings.pop(opening)
            try:
                session = opening.result()
            except SessionLost as lost:
                self._go_without_session(index, lost.outcome)
            else:
                self._use(session, index)

    def _use(self, session: SmtpSession, index: int | None = None) -> None:
        """Begin to send one mail after the other over a session that is free, with the one at `index` first."""
        if self._deal(session, index):
            self._advance(session, partial(self._start, session))

    def _deal(self, session: SmtpSession, index: int | None = None) -> bool:
        """Whether there is a mail for this session; else it is given back."""
        if session in self._ahead and session.is_open:
            index = self._ahead.pop(session)
        if session.is_open and (self._waiting or index is not None) and (not session.is_free or self._is_permitted()):
            self._busy[session] = self._waiting.popleft() if index is None else index
            return True
        self._give_back(session)
        return False

    def _start(self, session: SmtpSession) -> Outcome | None:
        envelope, following = self._envelopes[self._busy[session]], None
        # Of the last mails, what one session took ahead would be missing at another.
        if len(self._waiting) >= self._connections.most:
            self._ahead[session] = self._waiting.popleft()
            following = self._envelopes[self._ahead[session]]
        return session.start(envelope, self._permit, following)

    def _advance(self, session: SmtpSession, step: Callable[[], Outcome | None]) -> None:
        """One step of the mail of a session; when it is over, also the first step of the next."""
        while (outcome := self._outcome_of(session, step)) is not None:
            self._outcomes[self._busy[session]] = outcome
            if outcome.outcome is OutcomeClass.PROVIDER_WIDE and not outcome.may_be_recipient:
                self._stop(outcome)
            elif outcome.outcome is OutcomeClass.UNAVAILABLE:
                self._stop()
            if not self._deal(session):
                return
            step = partial(self._start, session)

    def _outcome_of(self, session: SmtpSession, step: Callable[[], Outcome | None]) -> Outcome | None:
        """None while the server is thinking, and where the mail and this session have parted."""
        try:
            outcome = step()
        except SessionLost as lost:
            self._go_on_after_loss(session, lost.outcome)
            return None
        except LeaseLost:
            self._stop()
            self._give_back(session)
            return None
        if outcome is None:
            self._watch(session)
        return outcome

    def _go_on_after_loss(self, session: SmtpSession, outcome: Outcome) -> None:
        index = self._busy[session]
        self._give_back(session)
        if session.was_used:
            # Servers close connections that idled, or carried enough: neither they nor the mail are at fault.
            if not self._open_another(index) and not self._is_over:
                self._waiting.appendleft(index)
        elif outcome.outcome is OutcomeClass.UNAVAILABLE:
            self._go_without_session(index, outcome)
        else:
            self._outcomes[index] = outcome

    def _go_without_session(self, index: int | None, outcome: Outcome) -> None:
        """A session that does not come; `index` waited for it. Others may do, else `outcome` is for all that waits."""
        if self._is_over:
            return
        if index is not None:
            self._waiting.appendleft(index)
        if self._connections.were_refused_another() or self._openings:
            return
        if outcome.outcome is OutcomeClass.PROVIDER_WIDE:
            self._stop(outcome)
        elif self._waiting:
            self._outcomes[self._waiting.popleft()] = outcome
            self._stop()

    def _stop(self, outcome: Outcome | None = None) -> None:
        """Nothing more is begun; what waits gets `outcome`, or never left. What was announced may still be dropped."""
        self._begin_no_more(outcome)
        for index in self._ahead.values():
            self._outcomes[index] = outcome
        self._ahead.clear()

    def _begin_no_more(self, outcome: Outcome | None = None) -> None:
        self._is_over = True
        for index in (*self._waiting, *self._openings.values()):
            if index is not None:
                self._outcomes[index] = outcome
        self._waiting.clear()
        self._openings = dict.fromkeys(self._openings)

    def _is_permitted(self) -> bool:
        try:
            self._permit()
        except TimeIsUp:
            self._begin_no_more()
            return False
        except LeaseLost:
            self._stop()
            return False
        return True

    def _watch(self, session: SmtpSession) -> None:
        events = _READ_OR_WRITE if session.wants_to_write else selectors.EVENT_READ
        watched = self._watched.get(session)
        if watched is None:
            self._selector.register(session.socket, events, session)
        elif watched != events:
            self._selector.modify(session.socket, events, session)
        self._watched[session] = events

    def _give_back(self, session: SmtpSession) -> None:
        """What was taken ahead for it is left to others."""
        self._busy.pop(session, None)
        index = self._ahead.pop(session, None)
        if index is not None and not self._is_over:
            self._waiting.appendleft(index)
        if session.is_open and not session.is_free:
            session.drop()
        if self._watched.pop(session, None) is not None:
            self._selector.unregister(session.socket)
        self._connections.give_back(session)
