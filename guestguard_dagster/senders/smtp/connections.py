"""The connections of one account: how many may be open, and those that wait for mail."""

import math
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from guestguard_dagster.senders.smtp.connect import SmtpAccess, tls_context
from guestguard_dagster.senders.smtp.session import EarlyInput, SmtpSession

_SECONDS_TO_ONE_MORE = 60


class SmtpConnections:
    """Shared by the hand-offs of an account, also by those of several threads.

    Where the server refuses one more beside those that are open, it gets no more than these; one more is tried a minute
    later. Opening one takes round trips and a login, so it happens in a thread of its own.
    """

    def __init__(self, access: SmtpAccess, most: int) -> None:
        self._access = access
        self._tls = tls_context(access.ca_file)
        self._early_input = EarlyInput()
        self.most = self._allowed = most
        self._one_more_at = math.inf
        # Open or being opened, idle ones included.
        self._counted = 0
        self._being_opened = 0
        self._idle: deque[SmtpSession] = deque()
        self._changed = threading.Condition()
        self._openers = ThreadPoolExecutor(max_workers=most, thread_name_prefix="smtp-open")

    def take(self) -> SmtpSession | None:
        """An open session that is not in use."""
        with self._changed:
            while self._idle:
                session = self._idle.pop()
                if session.is_reusable:
                    return session
                session.quit()
                self._count_less()
        return None

    @property
    def has_room(self) -> bool:
        with self._changed:
            return self._counted < self._allowed_now()

    def open(self) -> "Future[SmtpSession] | None":
        """Begin to open a session, which comes or raises SessionLost; None when there is no room for it."""
        with self._changed:
            if self._counted >= self._allowed_now():
                return None
            self._counted += 1
            self._being_opened += 1
        return self._openers.submit(self._open)

    def give_back(self, session: SmtpSession) -> None:
        """A session that carries no mail any more: it is kept, or forgotten if it is closed."""
        with self._changed:
            if session.is_open:
                self._idle.append(session)
                self._changed.notify()
            else:
                self._count_less()

    def leave(self, opening: "Future[SmtpSession]") -> None:
        """Nobody waits for this session any more: it is kept for the next hand-off."""
        opening.add_done_callback(self._keep)

    def were_refused_another(self) -> bool:
        """The server would not have one more; False when none is open at all."""
        with self._changed:
            are_open = self._counted - self._being_opened
            if are_open > 0:
                self._allowed = self._counted
                self._one_more_at = time.monotonic() + _SECONDS_TO_ONE_MORE
            return are_open > 0

    def wait_for_change(self, seconds: float) -> None:
        """Until another hand-off may have given one back."""
        with self._changed:
            if not self._idle and self._counted >= self._allowed_now():
                self._changed.wait(seconds)

    def close(self) -> None:
        self._openers.shutdown()
        while self._idle:
            self._idle.pop().quit()

    def _keep(self, opened: "Future[SmtpSession]") -> None:
        if opened.exception() is None:
            self.give_back(opened.result())

    def _open(self) -> SmtpSession:
        try:
            session = SmtpSession(self._access, self._tls, self._early_input)
        except BaseException:
            with self._changed:
                self._being_opened -= 1
                self._count_less()
                # At once, before anybody sees room for one more.
                self.were_refused_another()
            raise
        with self._changed:
            self._being_opened -= 1
        return session

    def _allowed_now(self) -> int:
        if self._allowed < self.most and time.monotonic() >= self._one_more_at:
            self._allowed += 1
            self._one_more_at = time.monotonic() + _SECONDS_TO_ONE_MORE
        return self._allowed

    def _count_less(self) -> None:
        self._counted -= 1
        self._changed.notify()
