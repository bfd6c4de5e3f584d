"""A burst of events with duplicates and nonsense among them, while NATS is restarted and event runs are killed.

Every event of the burst is for an address of its own, so that mails can be held against events one by one.
"""

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.local.nats import NatsServer, start_nats
from guestguard_dagster.local.ports import start_on_free_port
from guestguard_dagster.notifications.registry import TYPES
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.notifications.types.fraud_alert import FRAUD_ALERT
from guestguard_dagster.notifications.types.invitation import INVITATION
from guestguard_dagster.settings import FRAUD_ALERT_FROM_SCORE
from guestguard_dagster.storage.database import Database
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster.streams.messages import Backlog
from guestguard_dagster_tests.crash.gates import Point, Stop
from guestguard_dagster_tests.crash.loopbacks import Loopback
from guestguard_dagster_tests.crash.providers import Access
from guestguard_dagster_tests.crash.worker import EventRunOrder, Worker
from guestguard_dagster_tests.streams.events import go_time

# Points at which an event run is killed: rows are `sending`, and something may or may not have left.
_INSIDE_HAND_OFFS = (Point.BEFORE_CALL, Point.PERMITTED, Point.AFTER_CALL)
_DUPLICATES, _MALFORMED = 0.05, 0.01
_PUBLISHED_AT_ONCE = 1000
_LOOK_SECONDS = 0.5

# who is written to, as the factories below name them
_RESPONSES = ("attending", "declined", "maybe")


@dataclass(frozen=True, slots=True)
class Burst:
    """What is published, in this order; who is to get one mail each; how many events are malformed."""

    events: list[tuple[NotificationType, bytes, None]] = field(repr=False)
    addresses: frozenset[str] = field(repr=False)
    duplicates: int
    malformed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What arrived, held against the burst and against the rows."""

    seconds: float
    mails: int
    doubled: int
    missing: int
    missing_and_unknown: int
    stray: int
    dead_letters: int
    statuses: Counter[str]
    pending: int
    unacked: int
    unsettled: int
    kills: int
    restarts: int

    def __str__(self) -> str:
        said = ", ".join(f"{count:,} {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"{self.seconds:.1f} s, {self.kills} kills inside hand-offs, NATS restarted {self.restarts} times\n"
            f"mails {self.mails:,}, doubled {self.doubled}, missing {self.missing} "
            f"(of them unknown: {self.missing_and_unknown}), to nobody {self.stray}\n"
            f"rows: {said}; dead letters {self.dead_letters:,}\n"
            f"left: {self.pending} pending and {self.unacked} unacked in NATS, {self.unsettled} unsettled rows"
        )


def make_burst(database: Database, count: int, seed: int) -> Burst:
    """`count` events: 5 % published twice, 1 % that nobody can read, the rest for one guest or host each."""
    choose = random.Random(seed)  # noqa: S311 - chooses test data
    malformed = round(count * _MALFORMED)
    duplicates = round(count * _DUPLICATES)
    _make_people(database, count - malformed - duplicates)
    now = datetime.now(UTC)
    events = [_event(number, now) for number in range(1, count - malformed - duplicates + 1)]
    addresses = frozenset(_address(number) for number in range(1, len(events) + 1))
    doubled = choose.sample(events, duplicates)
    nonsense = [(choose.choice(list(TYPES)), _nonsense(number), None) for number in range(malformed)]
    everything = [*events, *doubled, *nonsense]
    choose.shuffle(everything)
    return Burst(everything, addresses, duplicates, malformed)


@dataclass
class BurstStage:
    """The burst's database, provider and NATS server, and the event runs that work it off."""

    database: Database
    server: Loopback
    access: Access
    folder: Path
    declaration: StreamDeclaration
    lease_seconds: float = 60
    linger_seconds: float = 2
    tell: Callable[[str], None] = lambda _: None

    def run(self, burst: Burst, *, kills: int, restarts: int, seed: int, patience: float) -> Verdict:
        """Publish, work off, disturb; the verdict is given once nothing moves any more. Raises AssertionError."""
        nats = start_on_free_port(lambda port: start_nats(self.folder, port=port))
        work = _Work(self, nats, burst, kills=kills, restarts=restarts, seed=seed)
        try:
            with self._connect(nats) as stream:
                stream.survey()
                for start in range(0, len(burst.events), _PUBLISHED_AT_ONCE):
                    stream.publish_many(burst.events[start : start + _PUBLISHED_AT_ONCE])
            self.tell(f"{len(burst.events):,} events published")
            seconds = work.run(patience)
            return self._judge(burst, seconds, work)
        finally:
            work.nats.stop()

    def unsettled(self) -> int:
        queues = [kind.queue_id for kind in TYPES]
        query = text(
            "SELECT count(*) FROM message_deliveries d "
            "JOIN delivery_batches b ON b.id = d.batch_id "
            "WHERE b.queue_id = ANY(CAST(:queues AS uuid[])) AND d.status = 'pending'"
        )
        with self.database.transaction() as connection:
            count: int = connection.execute(query, {"queues": queues}).scalar_one()
            return count

    def _connect(self, nats: NatsServer) -> JetStream:
        return JetStream(NatsAccess((nats.url,)), self.declaration)

    def _judge(self, burst: Burst, seconds: float, work: "_Work") -> Verdict:
        arrived = self.server.recipients()
        with self._connect(work.nats) as stream:
            backlogs = stream.survey().backlogs.values()
        with self.database.transaction() as connection:
            counted = connection.execute(text("SELECT status, count(*) AS rows FROM notifications GROUP BY status"))
            statuses: Counter[str] = Counter({row.status: row.rows for row in counted})
            letters: int = connection.execute(text("SELECT count(*) FROM dead_letters")).scalar_one()
            unknown = set(
                connection.execute(
                    text(
                        "SELECT COALESCE(n.payload ->> 'guest_email', CASE n.type WHEN 'confirmation' THEN g.email "
                        "ELSE u.email END) FROM notifications n "
                        "LEFT JOIN guests g ON g.id = n.guest_id "
                        "JOIN event_collaborators c ON c.event_id = n.event_id "
                        "JOIN users u ON u.id = c.user_id WHERE n.status = 'unknown'"
                    )
                ).scalars()
            )
        missing = burst.addresses - arrived.keys()
        return Verdict(
            seconds=seconds,
            mails=arrived.total(),
            doubled=sum(count > 1 for count in arrived.values()),
            missing=len(missing),
            missing_and_unknown=len(missing & unknown),
            stray=len(arrived.keys() - burst.addresses),
            dead_letters=letters,
            statuses=statuses,
            pending=sum(backlog.pending for backlog in backlogs),
            unacked=sum(backlog.unacked for backlog in backlogs),
            unsettled=self.unsettled(),
            kills=work.kills,
            restarts=work.restarts,
        )


class _Work:
    """One event run for each type at any time, as the sensor would launch them; some are killed, NATS is restarted."""

    def __init__(
        self, stage: BurstStage, nats: NatsServer, burst: Burst, *, kills: int, restarts: int, seed: int
    ) -> None:
        self.nats = nats
        self.kills = 0
        self.restarts = 0
        self._stage = stage
        self._random = random.Random(seed)  # noqa: S311 - chooses instants
        self._total = len(burst.addresses)
        # at these shares of the mails, while there is much left to do
        self._kill_at = [self._total * (number + 0.5) / (2 * kills) for number in range(kills)]
        self._restart_at = [self._total * (number + 1) / (2 * restarts + 1) for number in range(restarts)]
        self._workers: dict[NotificationType, Worker] = {}
        self._runs = 0

    def run(self, patience: float) -> float:
        """Until all is done; returns the seconds it took."""
        started = time.monotonic()
        told = 0
        with ExitStack() as ending:
            ending.callback(self._kill_all)
            while not self._is_done():
                if time.monotonic() - started > patience:
                    raise AssertionError(f"not done after {patience:.0f} seconds, {self._mails():,} mails")
                for kind in TYPES:
                    self._keep_one_at_work(kind)
                mails = self._mails()
                if self._restart_at and mails >= self._restart_at[0]:
                    self._restart_at.pop(0)
                    self._restart_nats()
                if self._kill_at and mails >= self._kill_at[0] and self._kill_one_inside_its_hand_off():
                    self._kill_at.pop(0)
                if mails - told >= 10_000:
                    told = mails
                    self._stage.tell(f"{mails:,} mails after {time.monotonic() - started:.0f} s")
                time.sleep(_LOOK_SECONDS)
            return time.monotonic() - started

    def _mails(self) -> int:
        return self._stage.server.recipients().total()

    def _keep_one_at_work(self, kind: NotificationType) -> None:
        worker = self._workers.get(kind)
        if worker is None or not worker.is_running:
            self._workers[kind] = self._start(kind)

    def _start(self, kind: NotificationType, stop: Stop | None = None) -> Worker:
        self._runs += 1
        return Worker(
            EventRunOrder(
                database_url=self._stage.database.engine.url.render_as_string(hide_password=False),
                access=self._stage.access,
                nats_url=self.nats.url,
                declaration=self._stage.declaration,
                kind=kind,
                run_id=f"events-{self._runs}",
                lease_seconds=self._stage.lease_seconds,
                linger_seconds=self._stage.linger_seconds,
                stop=stop,
            )
        )

    def _kill_one_inside_its_hand_off(self) -> bool:
        """An event run dies at a point inside a hand-off; False when it found too little to hand off."""
        point = _INSIDE_HAND_OFFS[self.kills % len(_INSIDE_HAND_OFFS)]
        self._workers.pop(CONFIRMATION.type).kill()
        victim = self._start(CONFIRMATION.type, Stop(point, passes=self._random.randrange(3)))
        try:
            victim.wait_at_gate()
        except EOFError:
            return False  # it ended before
        finally:
            victim.kill()
        self.kills += 1
        self._stage.tell(f"killed an event run {point}, after {self._mails():,} mails")
        return True

    def _restart_nats(self) -> None:
        port = self.nats.port
        self.nats.stop()
        time.sleep(0.5)
        self.nats = start_nats(self._stage.folder, port=port)
        self.restarts += 1
        self._stage.tell(f"NATS restarted, after {self._mails():,} mails")

    def _is_done(self) -> bool:
        if self._stage.unsettled():
            return False
        with JetStream(NatsAccess((self.nats.url,)), self._stage.declaration) as stream:
            backlogs = stream.survey().backlogs
        return all(backlog == Backlog(0, 0) for backlog in backlogs.values())

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            worker.kill()


def _kind(number: int) -> NotificationType:
    return {0: FRAUD_ALERT.type, 1: INVITATION.type}.get(number % 10, CONFIRMATION.type)


def _address(number: int) -> str:
    kind = _kind(number)
    return f"host-{number}@example.com" if kind == FRAUD_ALERT.type else f"guest-{number}@example.com"


def _uuid(what: str, number: int) -> UUID:
    """As PostgreSQL's md5 would make it."""
    return UUID(hashlib.md5(f"{what}{number}".encode(), usedforsecurity=False).hexdigest())


def _party(number: int) -> int:
    """Which event a guest is invited to: a hundred guests share one; a fraud alert's event has a host of its own."""
    return number if _kind(number) == FRAUD_ALERT.type else number // 100 * 100


def _make_people(database: Database, count: int) -> None:
    statements = (
        "INSERT INTO users (id, email, name) "
        "SELECT CAST(md5('host' || n) AS uuid), 'host-' || n || '@example.com', 'Host ' || n FROM parties",
        "INSERT INTO events (id, name, venue, starts_at, timezone) "
        "SELECT CAST(md5('event' || n) AS uuid), 'Garden Party', 'Rose Garden', now() + interval '10 days', "
        "'Europe/Berlin' FROM parties",
        "INSERT INTO event_collaborators (event_id, user_id, role) "
        "SELECT CAST(md5('event' || n) AS uuid), CAST(md5('host' || n) AS uuid), 'owner' FROM parties",
        "INSERT INTO guests (id, event_id, name, email, rsvp_token) "
        "SELECT CAST(md5('guest' || n) AS uuid), CAST(md5('event' || party) AS uuid), 'Guest ' || n, "
        "'guest-' || n || '@example.com', md5('token' || n) FROM people",
    )
    with database.transaction() as connection:
        connection.execute(
            text(
                "CREATE TEMPORARY TABLE people ON COMMIT DROP AS SELECT n, "
                "CASE n % 10 WHEN 0 THEN n ELSE n / 100 * 100 END AS party FROM generate_series(1, :count) AS n"
            ),
            {"count": count},
        )
        connection.execute(
            text("CREATE TEMPORARY TABLE parties ON COMMIT DROP AS SELECT DISTINCT party AS n FROM people")
        )
        for statement in statements:
            connection.execute(text(statement))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _event(number: int, now: datetime) -> tuple[NotificationType, bytes, None]:
    kind = _kind(number)
    about: dict[str, object] = {
        "guest_id": str(_uuid("guest", number)),
        "event_id": str(_uuid("event", _party(number))),
    }
    match kind:
        case FRAUD_ALERT.type:
            content = about | {"score": FRAUD_ALERT_FROM_SCORE + number % 41, "risk": "high", "reasons": None}
        case INVITATION.type:
            content = about | {
                "guest_email": _address(number),
                "guest_name": f"Guest {number}",
                "host_name": "Hanna",
                "event_name": "Garden Party",
                "venue": "Rose Garden",
                "event_date": go_time(now + timedelta(days=10)),
                "link": f"https://rsvp.example.com/i/{number}",
            }
        case CONFIRMATION.type:
            content = about | {
                "rsvp_id": f"rsvp-{number}",
                "response": _RESPONSES[number % len(_RESPONSES)],
                "plus_ones": float(number % 3),
                "risk_score": 1.5,
                "submitted_at": go_time(now),
            }
    return kind, json.dumps(content).encode(), None


def _nonsense(number: int) -> bytes:
    return (b"", b"{", b"\xff\xfe\x00", b"[]", b'{"guest_id": "nobody"}', b'{"event_id": 7}')[
        number % 6
    ] + b" " * number
