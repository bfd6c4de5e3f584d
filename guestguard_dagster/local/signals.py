"""Ctrl-C, SIGTERM and a closed terminal, as one exception that unwinds whatever is under way."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Someone asked this command to stop. Raised once; a further request calls `when_urgent`."""

    def __init__(self, how: signal.Signals) -> None:
        super().__init__(how.name)
        self.how = how


class StopRequests:
    """What was asked so far. After `hold`, or after the first request, nothing is raised any more."""

    def __init__(self) -> None:
        self._is_held = False
        self.when_urgent: Callable[[], None] = lambda: None

    def hold(self) -> None:
        self._is_held = True

    def receive(self, number: int, _frame: FrameType | None) -> None:
        if self._is_held:
            self.when_urgent()
            return
        self._is_held = True
        raise StopRequested(signal.Signals(number))


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Within this context the three signals raise StopRequested in the main thread.

    A hang-up that is ignored, as under nohup, stays ignored.
    """
    requests = StopRequests()
    caught = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, requests.receive) for number in caught}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
