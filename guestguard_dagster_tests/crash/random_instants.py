"""One message, and workers that are killed or frozen at random instants of its hand-offs; at the end the verdict."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from guestguard_dagster_tests.crash.fragile_postgres import FragilePostgres
from guestguard_dagster_tests.crash.killing import (
    freeze_one_after_the_other,
    kill_among_racing,
    kill_one_after_the_other,
)
from guestguard_dagster_tests.crash.loopbacks import loopback, slow
from guestguard_dagster_tests.crash.providers import Access, Provider
from guestguard_dagster_tests.crash.stage import Stage, due_messages
from guestguard_dagster_tests.crash.verdict import Verdict

_LEASE_SECONDS = 2.0


class How(StrEnum):
    """What happens to the workers."""

    KILLED = "one run after the other killed"
    RACING = "two runs racing, one of them killed"
    FROZEN = "one run after the other frozen past its lease"


@dataclass(frozen=True, slots=True)
class Caught:
    """What came of it. `times` is how often a worker was killed or frozen before the message was through."""

    provider: Provider
    how: How
    times: int
    seed: int
    seconds: float
    verdict: Verdict


def catch_workers(
    postgres: FragilePostgres, provider: Provider, how: How, *, guests: int, times: int, seed: int
) -> Caught:
    """One message to so many guests, sent by workers that are caught `times` times."""
    started = time.monotonic()
    with postgres.new_database() as database, loopback(provider) as server:
        server.faults.add(slow(provider))
        ids = due_messages(database, guests=guests, channel=provider.channel)
        stage = Stage(database, server, Access(provider, server.port, logs_in=True), ids)
        catch: dict[How, Callable[[], int]] = {
            How.KILLED: partial(kill_one_after_the_other, stage, seed, kills=times),
            How.RACING: partial(kill_among_racing, stage, seed, kills=times, lease_seconds=_LEASE_SECONDS),
            How.FROZEN: partial(freeze_one_after_the_other, stage, seed, freezes=times),
        }
        caught = catch[how]()
        server.faults.clear()
        stage.settle()
        return Caught(provider, how, caught, seed, time.monotonic() - started, stage.judge())
