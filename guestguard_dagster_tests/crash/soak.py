"""The plug pulled again and again: `python -m guestguard_dagster_tests.crash.soak --provider smtp --kills 50`.

Workers are killed (or frozen) at random instants while they send to a provider on loopback; at the end the verdict.
"""

import argparse
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
    new_seed,
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
class Soak:
    """What came of it. `caught` is how often a worker was killed or frozen before the message was through."""

    provider: Provider
    how: How
    caught: int
    seed: int
    seconds: float
    verdict: Verdict


def soak(postgres: FragilePostgres, provider: Provider, how: How, *, guests: int, times: int, seed: int) -> Soak:
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
        return Soak(provider, how, caught, seed, time.monotonic() - started, stage.judge())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", type=Provider, choices=list(Provider), default=Provider.SMTP)
    parser.add_argument("--how", choices=[how.name.lower() for how in How], default="racing")
    parser.add_argument("--guests", type=int, default=2000)
    parser.add_argument("--times", type=int, default=50, help="how often a worker is killed or frozen")
    parser.add_argument("--seed", type=int, help="makes the same choices again, though not the same timing")
    options = parser.parse_args()
    seed = new_seed() if options.seed is None else options.seed
    with FragilePostgres() as postgres:
        result = soak(
            postgres,
            options.provider,
            How[options.how.upper()],
            guests=options.guests,
            times=options.times,
            seed=seed,
        )
    print(f"{result.caught} times in {result.seconds:.0f} s: {result.verdict}")
    if result.verdict.breaches:
        raise SystemExit(f"the promise was broken: {result.verdict.breaches}")


if __name__ == "__main__":
    main()
