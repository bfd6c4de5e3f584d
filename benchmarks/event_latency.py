"""From published to handed off: `python -m benchmarks.event_latency --rate 1000 --seconds 60`.

Answers are published at a steady rate while the confirmation job works, in a process of its own as Dagster runs it;
mails go into postfix's smtp-sink. The latency of a mail is the instant of its provider's answer minus the instant at
which JetStream stored its event, both by this machine's clock.

With `--idle` the whole of `guestguard up` runs, and one event at a time is published while nothing else happens:
sensor, launch of the run and all.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from sqlalchemy import text

from benchmarks.postfix import unpack_postfix
from benchmarks.sending import through_smtp
from benchmarks.stage import CACHE, SECRET_KEY, Stage, make_big_event, open_stage
from guestguard_dagster.local.folder import DataFolder
from guestguard_dagster.local.nats import start_nats
from guestguard_dagster.local.ports import start_on_free_port
from guestguard_dagster.local.publish import find_party
from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster_tests.streams.events import go_time

_KIND = CONFIRMATION.type
_TICKS_PER_SECOND = 20
_PATIENCE_SECONDS = 300
# longer than a run lingers, so that each event finds nothing running
_IDLE_SECONDS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1000, help="events a second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument(
        "--idle", type=int, metavar="EVENTS", help="publish so many, one at a time, under guestguard up"
    )
    parser.add_argument("--project", type=Path, help="with --idle: the folder in which `guestguard up` runs")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    if options.idle:
        latencies = _idle(options.project, options.idle)
        print(f"idle, {options.idle} events one at a time: {_told(latencies)}")
        return
    with open_stage() as stage:
        latencies = _steady(stage, options.rate, options.seconds)
    print(f"{options.rate:,} events/s for {options.seconds} s, {len(latencies):,} mails: {_told(latencies)}")


def _told(latencies: list[float]) -> str:
    p95 = statistics.quantiles(latencies, n=20, method="inclusive")[-1]
    return f"median {statistics.median(latencies):.2f} s, p95 {p95:.2f} s, longest {max(latencies):.2f} s"


def _steady(stage: Stage, rate: int, seconds: int) -> list[float]:
    postfix = unpack_postfix(CACHE)
    nats = start_on_free_port(lambda port: start_nats(stage.folder / "nats", port=port))
    settings = Settings.model_validate({"nats_url": nats.url})
    try:
        with stage.database("latency") as (database, url), postfix.sink() as smtp_port:
            event = make_big_event(database, rate * seconds)
            guests = _guest_ids(database)
            environ = {"DATABASE_URL": url, "NATS_URL": nats.url, "GUESTGUARD_SECRET_KEY": SECRET_KEY}
            run = stage.python("benchmarks.event_run", environ | through_smtp(smtp_port))
            try:
                _wait_until_ready(run)
                with JetStream(NatsAccess.from_settings(settings), declare_stream(settings)) as stream:
                    stream.survey()
                    _publish_steadily(stream, str(event.id), guests, rate)
                return _latencies(database, len(guests))
            finally:
                run.kill()
                run.wait()
    finally:
        nats.stop()


def _guest_ids(database: Database) -> list[str]:
    with database.transaction() as connection:
        return [str(id) for id in connection.execute(text("SELECT id FROM guests")).scalars()]


def _wait_until_ready(run: subprocess.Popen[str]) -> None:
    if run.stdout is None or run.stdout.readline() != "ready\n":
        sys.exit("the run did not start; see its log in the bench's folder")


def _publish_steadily(stream: JetStream, event_id: str, guests: list[str], rate: int) -> None:
    """A twentieth of a second's events at a time, each group at its instant."""
    started = time.monotonic()
    step = max(1, rate // _TICKS_PER_SECOND)
    for number, start in enumerate(range(0, len(guests), step)):
        time.sleep(max(0.0, started + number * step / rate - time.monotonic()))
        now = go_time(datetime.now(UTC))
        events = [(_KIND, _answer(guest, event_id, now), None) for guest in guests[start : start + step]]
        stream.publish_many(events)
    took = time.monotonic() - started
    print(f"published {len(guests):,} events in {took:.1f} s, {len(guests) / took:,.0f}/s", flush=True)


def _answer(guest_id: str, event_id: str, now: str) -> bytes:
    answer = {"rsvp_id": guest_id, "guest_id": guest_id, "event_id": event_id, "response": "attending"}
    return json.dumps(answer | {"plus_ones": 1, "risk_score": 1.5, "submitted_at": now}).encode()


def _latencies(database: Database, expected: int) -> list[float]:
    query = text(
        "SELECT extract(epoch FROM d.handed_off_at - n.published_at) FROM notifications n "
        "JOIN message_deliveries d ON d.notification_id = n.id WHERE d.handed_off_at IS NOT NULL"
    )
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with database.transaction() as connection:
            latencies = [float(seconds) for seconds in connection.execute(query).scalars()]
        if len(latencies) >= expected:
            return latencies
        if time.monotonic() > deadline:
            sys.exit(f"only {len(latencies):,} of {expected:,} mails were handed off")
        time.sleep(1)


def _idle(project: Path | None, events: int) -> list[float]:
    running = DataFolder((project or Path.cwd()) / ".guestguard").running()
    if running is None:
        sys.exit("start `guestguard up` first, and name its folder with --project")
    settings = Settings.model_validate({name.lower(): value for name, value in running.environ.items()})
    with (
        Database(settings.require_database_url()) as database,
        JetStream(NatsAccess.from_settings(settings), declare_stream(settings)) as stream,
    ):
        party = find_party(database)
        sequences = []
        for _ in range(events):
            payload = CONFIRMATION.sample(party) | {"rsvp_id": str(uuid4())}
            sequences.append(stream.publish(_KIND, json.dumps(payload).encode()).sequence)
            _wait_for(database, sequences[-1])
            time.sleep(_IDLE_SECONDS)
        return [_wait_for(database, sequence) for sequence in sequences]


def _wait_for(database: Database, sequence: int) -> float:
    query = text(
        "SELECT extract(epoch FROM d.handed_off_at - n.published_at) FROM notifications n "
        "JOIN message_deliveries d ON d.notification_id = n.id "
        "WHERE n.sequence = :sequence AND d.handed_off_at IS NOT NULL ORDER BY n.published_at DESC LIMIT 1"
    )
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with database.transaction() as connection:
            seconds = connection.execute(query, {"sequence": sequence}).scalar_one_or_none()
        if seconds is not None:
            return float(seconds)
        time.sleep(0.2)
    sys.exit(f"the event with sequence {sequence} was not answered")


if __name__ == "__main__":
    main()
