"""Killing and freezing workers at random instants until the messages are through, or it was often enough."""

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass

from guestguard_dagster_tests.crash.passing_time import has_half_a_statement, let_leases_run_out
from guestguard_dagster_tests.crash.stage import Stage
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.crash.worker import Worker

# Within so many seconds after its start a worker can be caught before it has sent anything.
_FIRST_STEPS_SECONDS = 0.15
_MOST_MAILS_BETWEEN = 16
# Short, so that the frozen ones find their lease over by their own clock too.
_FREEZER_LEASE_SECONDS = 1.0
_ONE_IN_THREE = 1 / 3


def new_seed() -> int:
    """A seed of this run's own, printed so that a failure tells it."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    return seed


@dataclass(frozen=True, slots=True)
class Chance:
    """Chooses the instants. A seed makes the same choices again, though not the same timing."""

    stage: Stage
    random: random.Random

    @classmethod
    def of(cls, stage: Stage, seed: int) -> "Chance":
        return cls(stage, random.Random(seed))  # noqa: S311 - chooses instants, guards nothing

    def wait_for_the_moment(self, victim: Worker) -> None:
        """Some time in the first steps, or after some more mails and some milliseconds; or the victim has ended."""
        if self.random.random() < _ONE_IN_THREE:
            time.sleep(self.random.uniform(0, _FIRST_STEPS_SECONDS))
            return
        enough = self.stage.mails() + self.random.randint(1, _MOST_MAILS_BETWEEN)
        wait_until(
            lambda: self.stage.mails() >= enough or not victim.is_running, "more mails leave, or the worker ends"
        )
        time.sleep(self.random.uniform(0, 0.01))


def kill_one_after_the_other(stage: Stage, seed: int, *, kills: int) -> int:
    """One worker at a time, killed; the next one finds its leases run out. Returns how many were killed at work."""
    chance = Chance.of(stage, seed)
    killed = 0
    while killed < kills:
        let_leases_run_out(stage.database)
        with stage.start_worker() as worker:
            chance.wait_for_the_moment(worker)
            if not worker.is_running:
                break
            worker.kill()
            killed += 1
    return killed


def kill_among_racing(stage: Stage, seed: int, *, kills: int, racing: int = 2, lease_seconds: float) -> int:
    """So many workers at once for the same messages; one of them is killed, and another takes its place.

    Leases run out by themselves after `lease_seconds`. Returns how many were killed at work; the last ones end by
    themselves.
    """
    chance = Chance.of(stage, seed)
    killed = 0
    workers = [stage.start_worker(lease_seconds=lease_seconds) for _ in range(racing)]
    try:
        while killed < kills and stage.judge().unsettled:
            victim = chance.random.randrange(racing)
            chance.wait_for_the_moment(workers[victim])
            killed += workers[victim].is_running
            workers[victim].kill()
            workers[victim] = stage.start_worker(lease_seconds=lease_seconds)
        for worker in workers:
            worker.wait()
    finally:
        for worker in workers:
            worker.kill()
    return killed


def freeze_one_after_the_other(stage: Stage, seed: int, *, freezes: int) -> int:
    """One worker at a time is frozen past its lease while the next ones work; at the end all of them go on at once.

    Returns how many were frozen at work.
    """
    chance = Chance.of(stage, seed)
    with ExitStack() as workers:
        frozen: list[Worker] = []
        while len(frozen) < freezes:
            let_leases_run_out(stage.database)
            worker = workers.enter_context(stage.start_worker(lease_seconds=_FREEZER_LEASE_SECONDS))
            chance.wait_for_the_moment(worker)
            if not _freeze_between_statements(stage, worker):
                break
            frozen.append(worker)
        let_leases_run_out(stage.database)
        stage.settle()
        for worker in frozen:
            worker.go_on()
        for worker in frozen:
            worker.wait()
        return len(frozen)


def _freeze_between_statements(stage: Stage, worker: Worker) -> bool:
    """Half a statement would keep its locks as long as the worker stands still; between two, PostgreSQL ends that."""
    while worker.freeze():
        if not has_half_a_statement(stage.database):
            return True
        worker.go_on()
        time.sleep(0.01)
    return False
