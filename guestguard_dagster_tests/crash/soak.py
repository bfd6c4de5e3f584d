"""The plug pulled again and again at full speed: `python -m guestguard_dagster_tests.crash.soak --provider smtp`.

Runs are killed, and PostgreSQL is killed and started again, at random instants, while hundreds of thousands of mails
leave; leases run out by themselves, and nothing is let pass. The verdict goes into docs/honesty.md.
"""

import argparse
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from sqlalchemy import text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.database import Database, DatabaseUnavailable
from guestguard_dagster_tests.crash.fragile_postgres import FragilePostgres
from guestguard_dagster_tests.crash.killing import new_seed
from guestguard_dagster_tests.crash.providers import Access, Provider, batch_size
from guestguard_dagster_tests.crash.remote_loopback import RemoteLoopback
from guestguard_dagster_tests.crash.soak_report import DOCUMENT, SoakResult, write_result
from guestguard_dagster_tests.crash.stage import start_worker
from guestguard_dagster_tests.crash.verdict import judge
from guestguard_dagster_tests.crash.worker import Worker
from guestguard_dagster_tests.factories import make_event, make_message

MAILS, KILLS, DATABASE_KILLS = 200_000, 100, 30
# What of one dead run may be unknown: its batch, where a repeat is not recognised.
_MOST_IN_DOUBT = {Provider.SMTP: batch_size(Provider.SMTP), Provider.RESEND: 0}
PROVIDERS = tuple(_MOST_IN_DOUBT)

_RUNS_AT_ONCE = 2
# Short, so that nothing waits long for the batches of the dead.
_LEASE_SECONDS = 5.0
# Half of the mails are one message's, the others are shared by so many.
_SMALLER_MESSAGES = 20
# All plugs are pulled within this share of the mails, so that there is work left to do.
_PULLED_WITHIN = 0.9
_LONGEST_PAUSE_SECONDS = 0.3
_LOOK_SECONDS = 0.01
_STANDSTILL_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Plan:
    """So many `mails`, and so many `kills` of runs and of PostgreSQL while they leave."""

    provider: Provider
    mails: int = MAILS
    kills: int = KILLS
    database_kills: int = DATABASE_KILLS


def soak(postgres: FragilePostgres, plan: Plan, seed: int) -> SoakResult:
    """Send, and kill, until all is done. Raises AssertionError when nothing moves any more."""
    with postgres.new_database() as database, RemoteLoopback(plan.provider) as server:
        message_ids = _make_messages(database, plan.mails)
        with _Soak(postgres, database, server, plan, message_ids, seed) as under_way:
            started = time.monotonic()
            under_way.run()
            seconds = time.monotonic() - started
        verdict = judge(database, message_ids, server.recipients())
        in_doubt = verdict.states[DeliveryStatus.UNKNOWN] - _MOST_IN_DOUBT[plan.provider] * under_way.kills
        return SoakResult(
            provider=plan.provider,
            kills=under_way.kills,
            database_kills=under_way.database_kills,
            seed=seed,
            seconds=seconds,
            verdict=verdict.but(in_doubt_beyond_a_batch_for_each_dead_run=max(0, in_doubt)),
        )


class _Soak:
    """Some runs at work at any time, as the sensor would launch them, until the messages are finished."""

    def __init__(
        self,
        postgres: FragilePostgres,
        database: Database,
        server: RemoteLoopback,
        plan: Plan,
        message_ids: tuple[UUID, ...],
        seed: int,
    ) -> None:
        self.kills = 0
        self.database_kills = 0
        self._postgres = postgres
        self._database = database
        self._server = server
        self._plan = plan
        self._message_ids = message_ids
        self._random = random.Random(seed)  # noqa: S311 - chooses instants, guards nothing
        self._access = Access(plan.provider, server.port, logs_in=True)
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()

    def run(self) -> None:
        self._send_and_kill()
        # One that waited for the database may have answers in hand about what others have called unknown.
        for worker in self._workers:
            worker.wait()

    def _send_and_kill(self) -> None:
        plugs = [self._kill_run] * self._plan.kills + [self._kill_database] * self._plan.database_kills
        self._random.shuffle(plugs)
        within = self._plan.mails * _PULLED_WITHIN
        for moment in sorted(self._random.uniform(0, within) for _ in plugs):
            if not self._work_until(lambda: self._server.mails() >= moment):  # noqa: B023
                return
            self._pause(_LOOK_SECONDS)
            plugs.pop()()
            print(f"{moment:,.0f} mails: {self.kills} runs killed, PostgreSQL {self.database_kills} times", flush=True)
        self._work_until(lambda: False)

    def _work_until(self, happened: Callable[[], bool]) -> bool:
        """Keep runs at work until this has happened; False when the messages were finished before."""
        mails, moved_at, looked_at = -1, time.monotonic(), time.monotonic()
        while not happened():
            self._keep_at_work()
            now = time.monotonic()
            if now - looked_at > 1:
                looked_at = now
                if self._is_finished():
                    return False
            if (taken := self._server.mails()) != mails:
                mails, moved_at = taken, now
            if now - moved_at > _STANDSTILL_SECONDS:
                raise AssertionError(f"nothing has moved for {_STANDSTILL_SECONDS:.0f} seconds, after {mails:,} mails")
            time.sleep(_LOOK_SECONDS)
        return True

    def _keep_at_work(self) -> None:
        for worker in [worker for worker in self._workers if not worker.is_running]:
            worker.wait()
            self._forget(worker)
        while len(self._workers) < _RUNS_AT_ONCE:
            self._workers.append(
                start_worker(self._database, self._access, self._message_ids, lease_seconds=_LEASE_SECONDS)
            )

    def _kill_run(self) -> None:
        self._keep_at_work()
        victim = self._random.choice(self._workers)
        self.kills += victim.is_running
        self._forget(victim)

    def _kill_database(self) -> None:
        self._postgres.kill()
        self.database_kills += 1
        self._pause(_LONGEST_PAUSE_SECONDS)
        self._postgres.start_again()

    def _forget(self, worker: Worker) -> None:
        worker.close()
        self._workers.remove(worker)

    def _pause(self, longest: float) -> None:
        time.sleep(self._random.uniform(0, longest))

    def _is_finished(self) -> bool:
        unfinished = "SELECT count(*) FROM scheduled_messages WHERE status IN ('scheduled', 'sending')"
        with contextlib.suppress(DatabaseUnavailable), self._database.transaction() as connection:
            return not connection.execute(text(unfinished)).scalar_one()
        return False


def _make_messages(database: Database, mails: int) -> tuple[UUID, ...]:
    """One large message and smaller ones, all due, with so many guests together."""
    smaller = mails // 2 // _SMALLER_MESSAGES
    sizes = [mails - smaller * _SMALLER_MESSAGES, *[smaller] * _SMALLER_MESSAGES]
    return tuple(_make_message(database, size) for size in sizes if size)


def _make_message(database: Database, guests: int) -> UUID:
    event = make_event(database)
    with database.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO guests (id, event_id, name, email, rsvp_token) "
                "SELECT gen_random_uuid(), CAST(:event AS uuid), 'Guest ' || n, 'guest-' || n || '-' || :name || "
                "'@example.com', md5(:name || n) FROM generate_series(1, :guests) AS n"
            ),
            {"event": event.id, "name": event.id.hex, "guests": guests},
        )
    return make_message(database, event).id


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", type=Provider, choices=PROVIDERS, default=Provider.SMTP)
    parser.add_argument("--mails", type=int, default=MAILS)
    parser.add_argument("--kills", type=int, default=KILLS, help="how often a run is killed")
    parser.add_argument("--database-kills", type=int, default=DATABASE_KILLS, help="how often PostgreSQL is killed")
    parser.add_argument("--seed", type=int, help="makes the same choices again, though not the same timing")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="the document that the result is written into")
    options = parser.parse_args()
    seed = new_seed() if options.seed is None else options.seed
    with FragilePostgres() as postgres:
        plan = Plan(options.provider, options.mails, options.kills, options.database_kills)
        result = soak(postgres, plan, seed)
    print(result)
    write_result(options.output, result)
    if result.verdict.breaches:
        raise SystemExit(f"the promise was broken: {result.verdict.breaches}")


if __name__ == "__main__":
    main()
