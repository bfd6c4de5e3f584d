"""What one tick of the due-messages sensor requests of the database, by how many messages are scheduled in all."""

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import event, text

from benchmarks.figures import Figure, Ratio, Section
from benchmarks.scale import Scale
from benchmarks.stage import Stage, vacuum
from guestguard_dagster.delivery.run_requests import request_runs
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.run_requests import RunRequestRepo
from guestguard_dagster_tests.factories import make_event

_DUE = 200
_EVENTS = 50
_YEAR = timedelta(days=365)
_TICKS = 7
_LIMIT = 20_000
# Twice as long at a hundred times the messages is the index's depth and noise; a scan would be far beyond.
_GROWS_AT_MOST = 2.0
# the ids of the messages that a run is requested for, in a plan that people read
_LONG_ARRAY = re.compile(r"'\{[^}]{80,}\}'")


@dataclass(frozen=True, slots=True)
class _Tick:
    milliseconds: float
    plan: str


def measure(stage: Stage, scale: Scale) -> Section:
    """The queries of a tick with 200 messages due, in a small table and in a large one."""
    few, many = (_measure_tick(stage, rows) for rows in scale.scheduled_rows)
    small, large = scale.scheduled_rows
    return Section(
        "A tick of the due-messages sensor",
        f"{_DUE} messages due within the next 90 seconds, of {large:,} scheduled over the next year. The time is that "
        "of the tick's queries as the sensor sees it: cancelling what came too late, looking up what is due, and "
        f"requesting runs for it (median of {_TICKS} ticks). The plan is that of the larger table.",
        ratios=[
            Ratio(
                f"a tick with {large:,} scheduled messages vs one with {small:,}",
                many.milliseconds / few.milliseconds,
                at_most=_GROWS_AT_MOST,
            )
        ],
        figures=[
            Figure(f"tick, {small:,} scheduled", f"{few.milliseconds:.1f} ms"),
            Figure(f"tick, {large:,} scheduled", f"{many.milliseconds:.1f} ms"),
        ],
        plan=many.plan,
    )


def _measure_tick(stage: Stage, scheduled: int) -> _Tick:
    with stage.database("ticks") as (database, _):
        _schedule(database, scheduled)
        tick = _tick_of(database)
        times = [_milliseconds(tick, database) for _ in range(_TICKS + 1)]
        return _Tick(statistics.median(times[1:]), _plan_of(tick, database))


def _tick_of(database: Database) -> Callable[[], None]:
    requests, messages = RunRequestRepo(database), MessageRepo(database)

    def tick() -> None:
        messages.expire_late()
        asked = len(request_runs(messages, requests, {}, most=_LIMIT))
        if asked != _DUE:
            raise AssertionError(f"the tick asked for {asked} messages, of which {_DUE} were due")

    return tick


def _milliseconds(tick: Callable[[], None], database: Database) -> float:
    started = time.perf_counter()
    tick()
    taken = time.perf_counter() - started
    _forget_asks(database)
    return taken * 1000


def _forget_asks(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE scheduled_messages SET asked_until = NULL WHERE asked_until IS NOT NULL"))
    vacuum(database)


def _plan_of(tick: Callable[[], None], database: Database) -> str:
    """What PostgreSQL did for each of the tick's statements, as it explains it."""
    statements: list[tuple[str, Any]] = []

    def keep(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", keep)
    tick()
    event.remove(database.engine, "before_cursor_execute", keep)
    _forget_asks(database)
    plans = []
    with database.engine.connect() as connection:
        for statement, parameters in statements:
            explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, COSTS OFF, BUFFERS OFF) {statement}", parameters)
            plans.append(_LONG_ARRAY.sub("'{…}'", "\n".join(explained.scalars())))
        connection.rollback()
    return "\n\n".join(plans)


def _schedule(database: Database, scheduled: int) -> None:
    """Messages spread over the coming year, of which 200 are due now."""
    for _ in range(_EVENTS):
        make_event(database, starts_in=2 * _YEAR)
    with database.transaction() as connection:
        connection.execute(
            text(
                """
                INSERT INTO scheduled_messages
                    (event_id, kind, channel, audience, subject, body, status, send_at)
                SELECT e.id, 'broadcast', 'email', 'everyone', 'News about {{event_name}}',
                    repeat('Hi {{guest_name}}, see you soon. ', 12), 'scheduled',
                    now() + CASE WHEN n <= :due THEN interval '0' ELSE interval '1 hour' + n * :step END
                FROM generate_series(1, :scheduled) AS n
                JOIN (SELECT id, row_number() OVER () AS number FROM events) AS e
                    ON e.number = 1 + n % :events
                """
            ),
            {"due": _DUE, "scheduled": scheduled, "events": _EVENTS, "step": _YEAR / scheduled},
        )
    vacuum(database)
