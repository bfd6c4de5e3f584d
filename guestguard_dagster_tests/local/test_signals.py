"""A request to stop reaches the command, whatever Python is doing at that moment."""

import signal
import time

import pytest

from guestguard_dagster.local.signals import StopRequested, stop_requests


class _StopsWhenDestroyed:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_a_request_that_python_drops_in_a_destructor_is_raised_a_moment_later() -> None:
    with pytest.raises(StopRequested):
        _be_stopped_in_a_destructor()


def test_a_second_request_is_urgent_and_raises_nothing() -> None:
    urgent = []
    with stop_requests() as requests:
        requests.when_urgent = lambda: urgent.append("urgent")
        with pytest.raises(StopRequested):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert urgent == ["urgent"]


def _be_stopped_in_a_destructor() -> None:
    with stop_requests():
        _StopsWhenDestroyed()
        time.sleep(60)
