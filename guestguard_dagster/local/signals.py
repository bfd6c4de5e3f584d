"""Ctrl-C, SIGTERM and a closed terminal, as one exception that unwinds whatever is under way."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_SECONDS = 0.05


class StopRequested(BaseException):
    """Someone asked this command to stop. Raised once; a further request calls `when_urgent`."""

    def __init__(self, how: signal.Signals) -> None:
        super().__init__(how.name)
        self.how = how


class StopRequests:
    """What was asked so far. After `hold`, or after the first request, nothing is raised any more."""

    def __init__(self) -> None:
        self._is_raised = False
        self._is_held = False
        self.when_urgent: Callable[[], None] = lambda: None

    def hold(self) -> None:
        self._is_held = True

    def receive(self, number: int, _frame: FrameType | None) -> None:
        if self._is_raised or self._is_held:
            self.when_urgent()
            return
        self._is_raised = True
        raise StopRequested(signal.Signals(number))

    def repeat_if_lost(self, ignored: "sys.UnraisableHookArgs") -> None:
        """Python drops what a destructor, or a hook around `fork`, raises: ask once more, a moment later."""
        if not isinstance(ignored.exc_value, StopRequested):
            sys.__unraisablehook__(ignored)
            return
        self._is_raised = False
        main_thread = threading.main_thread().ident
        threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, [main_thread, ignored.exc_value.how]).start()


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Within this context the three signals raise StopRequested in the main thread.

    A hang-up that is ignored, as under nohup, stays ignored.
    """
    requests = StopRequests()
    caught = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, requests.receive) for number in caught}
    hook = sys.unraisablehook
    sys.unraisablehook = requests.repeat_if_lost
    try:
        yield requests
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
