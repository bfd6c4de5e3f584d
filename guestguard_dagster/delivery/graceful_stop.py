"""Keeps an interrupt (SIGTERM, Terminate) from tearing a hand-off: the work ends the batch in hand, then stops."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

Result = TypeVar("Result")


def run_until_stopped(work: Callable[[Event], Result]) -> Result:
    """Run `work(stop)` in a thread while this one takes the interrupts.

    An interrupt sets `stop` and waits for the work to write down what has left; then it goes on its way. A second
    interrupt does not wait.
    """
    stop = Event()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="dispatch") as pool:
        future: Future[Result] = pool.submit(work, stop)
        try:
            return future.result()
        except BaseException:
            stop.set()
            future.exception()
            raise
