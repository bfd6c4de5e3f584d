"""Waiting for something that is bound to happen: generous, so that only a real fault makes a test fail."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 60.0


def wait_until(happened: Callable[[], bool], what: str, *, every_seconds: float = 0.001) -> None:
    """Look again and again. Raises AssertionError that names `what` when it does not happen."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise AssertionError(f"within {PATIENCE_SECONDS} seconds it did not happen that {what}")
        time.sleep(every_seconds)
