"""A database from before there were batches is carried over in the middle of everything, and goes on from there."""

import json
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Event as StopEvent
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from sqlalchemy import text

from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.mark_sent import mark_sent
from guestguard_dagster.delivery.record_deliveries import record_deliveries
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.domain.system_mail import SystemMailKind
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.operations.system_mail import send_waiting_mail
from guestguard_dagster.senders.base import HandOff
from guestguard_dagster.senders.picker import pick_senders
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import alembic_config, migrate
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out, let_waits_pass
from guestguard_dagster_tests.factories import read_message
from guestguard_dagster_tests.loopback.resend import ResendLoopback
from guestguard_dagster_tests.notifications.events import run_once
from guestguard_dagster_tests.send_contexts import SendContextOpener, resend_settings
from guestguard_dagster_tests.senders.items import always, mail
from guestguard_dagster_tests.storage.handing_off import (
    HandingOff,
    earlier_attempts,
    ids_of,
    outcomes,
    read_batch,
    read_delivery,
)
from guestguard_dagster_tests.streams.events import connect, declare

BEFORE = "0010"
A_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Before:
    """Two messages that are being sent, notifications and system mail, at the version before; deliveries by name."""

    database: Database
    messages: tuple[UUID, UUID]
    request_id: UUID
    request: HandOff
    ids: dict[str, int]

    def status_of(self, name: str) -> str:
        return str(read_delivery(self.database, self.ids[name]).live)


class Writer:
    """Writes rows as the version before did, without the code of today."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.event, host = uuid4(), uuid4()
        self.insert("users", id=host, email="host@example.com", name="Hanna Host")
        starts_at = database.now() + timedelta(days=10)
        self.insert("events", id=self.event, name="Party", venue="Here", starts_at=starts_at, timezone="Europe/Berlin")
        self.insert("event_collaborators", event_id=self.event, user_id=host, role="owner")
        self.ids: dict[str, int] = {}

    def insert(self, table: str, **values: Any) -> Any:
        columns, parameters = ", ".join(values), ", ".join(f":{name}" for name in values)
        returned = "id" if "id" in values or table == "message_deliveries" else "1"
        with self.database.transaction() as connection:
            statement = f"INSERT INTO {table} ({columns}) VALUES ({parameters}) RETURNING {returned}"  # noqa: S608
            return connection.execute(text(statement), values).scalar_one()

    def message(self) -> UUID:
        now, id = self.database.now(), uuid4()
        self.insert(
            "scheduled_messages",
            id=id,
            event_id=self.event,
            kind="broadcast",
            channel="email",
            audience="everyone",
            subject="About {{event_name}}",
            body="Hi {{guest_name}}",
            status="sending",
            started_at=now,
            send_at=now,
            audience_frozen_at=now,
            preflighted_at=now,
            recipient_count=0,
        )
        return id

    def guest(self, name: str) -> UUID:
        id = uuid4()
        self.insert(
            "guests", id=id, event_id=self.event, name=name, email=f"{name}@example.com", rsvp_token=uuid4().hex
        )
        return id

    def delivery(self, name: str, message: UUID | None = None, **values: Any) -> None:
        """The guest has its name, unless it is not for a guest."""
        if "guest_id" not in values:
            values["guest_id"] = self.guest(name)
        values = {"event_id": self.event, "channel": "email", "message_id": message} | values
        self.ids[name] = self.insert("message_deliveries", **values)

    def notification(self, name: str, sequence: int, **values: Any) -> None:
        id, guest, kind = uuid4(), self.guest(name), CONFIRMATION.type
        payload = {"rsvp_id": name, "response": "attending", "plus_ones": 0, "submitted_at": "2026-01-01T00:00:00Z"}
        self.insert(
            "notifications",
            id=id,
            type=kind,
            event_id=self.event,
            guest_id=guest,
            status="pending",
            stream="S",
            sequence=sequence,
            published_at=self.database.now(),
            identity=name,
            payload=json.dumps(payload | {"guest_id": str(guest), "event_id": str(self.event)}),
        )
        self.delivery(name, notification_id=id, drain_id=kind.queue_id, guest_id=guest, **values)

    def system_mail(self, name: str, **values: Any) -> None:
        mail_id = uuid4()
        self.insert(
            "memos",
            id=mail_id,
            kind="report",
            occasion=name,
            address=f"{name}@example.com",
            name=name,
            subject="Report",
            text="All is well.",
            html="<p>All is well.</p>",
        )
        self.delivery(
            name, memo_id=mail_id, drain_id=SystemMailKind.REPORT.queue_id, event_id=None, guest_id=None, **values
        )

    def attempt(self, name: str, outcome: str) -> None:
        self.insert(
            "delivery_attempts",
            delivery_id=self.ids[name],
            lease_token=uuid4(),
            round=1,
            provider="resend",
            account="resend:1",
            outcome=outcome,
        )


@pytest.fixture
def resend() -> Iterator[ResendLoopback]:
    with ResendLoopback() as server:
        yield server


@pytest.fixture
def open_sending(empty_database_url: str) -> Iterator[SendContextOpener]:
    opener = SendContextOpener(empty_database_url)
    with opener.opened:
        yield opener


@pytest.fixture
def before(empty_database_url: str, resend: ResendLoopback) -> Iterator[Before]:
    """What a process left that died while it sent two messages at once."""
    senders = pick_senders(Settings.model_validate({"guestguard_secret_key": "a secret"} | resend_settings(resend)))
    with closing(senders), Database(empty_database_url) as database:
        migrate(database, to=BEFORE)
        write, now, account = Writer(database), database.now(), senders.email.account
        first, second = write.message(), write.message()
        settled: dict[str, Any] = {"provider": "resend", "account": account, "settled_at": now}
        left: dict[str, Any] = {"status": "sending", "lease_token": uuid4(), "lease_expires_at": now}
        over_smtp = left | {"provider": "smtp", "account": "smtp:mail.example.com", "first_attempt_at": now}

        write.delivery("free", first)
        write.delivery("leased", first, lease_token=uuid4(), lease_expires_at=now + A_MINUTE)
        write.delivery("waiting", first, attempts=2, first_attempt_at=now, next_attempt_at=now + 10 * A_MINUTE)
        write.delivery("interrupted", first, **over_smtp)
        write.delivery("sent", first, status="sent", provider_message_id="m-1", handed_off_at=now, **settled)
        write.delivery("failed", first, status="failed", retryable=True, error_class="Busy", **settled)
        for name, outcome in (("sent", "transient"), ("sent", "sent"), ("failed", "permanent")):
            write.attempt(name, outcome)
        write.delivery("free2", second)
        write.notification("confirmed", 1)
        write.notification("confirmed2", 2, status="delivered", handed_off_at=now, **settled)
        write.system_mail("reported")
        write.system_mail("interrupted2", **over_smtp)
        write.system_mail("reported2", status="sent", handed_off_at=now, **settled)

        # One request carried mails of both messages. It arrived, its answer did not; one mail was called back about.
        request_id = uuid4()
        own = {"provider": "resend", "account": account}
        write.insert("provider_batches", id=request_id, endpoint="", members=[], **own)
        under_way = left | own | {"batch_id": request_id, "first_attempt_at": now}
        write.delivery("repeated", first, **under_way)
        write.delivery("repeated2", second, **under_way)
        write.delivery("called-back", second, **under_way | {"status": "delivered", "lease_token": None})
        names = ("repeated", "repeated2", "called-back")
        [request] = senders.email.prepare([mail(write.ids[name], to=f"{name}@example.com") for name in names])
        request = replace(request, key=request_id)
        senders.email.hand_off(request, always)
        with database.transaction() as connection:
            connection.execute(
                text("UPDATE provider_batches SET endpoint = :endpoint, members = :members, body = :body"),
                {
                    "endpoint": request.endpoint,
                    "members": [*request.members],
                    "body": zlib.compress(request.body or b""),
                },
            )
            connection.execute(
                text(
                    "UPDATE scheduled_messages m SET recipient_count = "
                    "(SELECT count(*) FROM message_deliveries d WHERE d.message_id = m.id)"
                )
            )
        yield Before(database, (first, second), request_id, request, write.ids)


def go_on(sending: SendContext, before: Before, stream: JetStream) -> None:
    """What runs do, until nothing is left."""
    for _ in range(4):
        let_leases_run_out(before.database)
        let_waits_pass(before.database)
        dispatch(sending, before.messages, StopEvent())
        record_deliveries(sending, before.messages)
        mark_sent(sending, before.messages)
        run_once(sending, stream)
        send_waiting_mail(sending, StopEvent())


@pytest.fixture
def stream(nats_server: NatsServer) -> Iterator[JetStream]:
    with connect(nats_server.url, declare()) as stream:
        stream.survey()
        yield stream


def test_what_is_pending_is_leased_once_and_what_is_under_way_keeps_its_request(before: Before) -> None:
    database = before.database
    migrate(database)

    leased = HandingOff(database).batches.lease(before.messages, limit=100, per_queue=100, duration=A_MINUTE)
    names = {id: name for name, id in before.ids.items()}
    assert sorted(names[id] for id in ids_of(leased)) == ["free", "free2", "leased"]
    assert HandingOff(database).batches.lease(before.messages, limit=9, per_queue=9, duration=A_MINUTE).batches == ()
    waiting = read_delivery(database, before.ids["waiting"])
    assert (waiting.attempts, waiting.live) == (2, "pending")
    assert 9 * A_MINUTE < read_batch(database, waiting.batch_id).not_before - database.now() <= 10 * A_MINUTE

    under_way = [read_delivery(database, before.ids[name]) for name in ("repeated", "repeated2")]
    assert [row.live for row in under_way] == ["sending", "sending"]
    for row, message_id in zip(under_way, before.messages, strict=True):
        batch = read_batch(database, row.batch_id)
        assert (batch.queue_id, batch.message_id, batch.size) == (message_id, message_id, 1)
        assert (batch.key, batch.endpoint) == (before.request_id, before.request.endpoint)
        assert tuple(batch.members) == before.request.members
        assert zlib.decompress(batch.body) == before.request.body
    assert [before.status_of(name) for name in ("interrupted", "interrupted2")] == ["sending", "sending"]


@pytest.mark.parametrize("there_and_back", [False, True], ids=["straight on", "up, down, and up again"])
def test_it_goes_on_nobody_is_lost_and_nobody_gets_two_mails(
    before: Before,
    open_sending: SendContextOpener,
    resend: ResendLoopback,
    stream: JetStream,
    *,
    there_and_back: bool,
) -> None:
    migrate(before.database)
    if there_and_back:
        with before.database.transaction() as connection:
            command.downgrade(alembic_config(connection), BEFORE)
        migrate(before.database)
    sending = open_sending(resend_settings(resend), {"public_base_url": "https://rsvp.example.com"})

    go_on(sending, before, stream)

    assert {name: before.status_of(name) for name in before.ids} == {
        **dict.fromkeys(("free", "leased", "waiting", "free2", "confirmed", "reported"), "sent"),
        **dict.fromkeys(("repeated", "repeated2", "sent", "reported2"), "sent"),
        **dict.fromkeys(("interrupted", "interrupted2"), "unknown"),
        **dict.fromkeys(("called-back", "confirmed2"), "delivered"),
        "failed": "failed",
    }
    mailed = ("free", "leased", "waiting", "free2", "confirmed", "reported", "repeated", "repeated2", "called-back")
    assert resend.recipients() == dict.fromkeys((f"{name}@example.com" for name in mailed), 1)
    repeats = [request for request in resend.requests if request.headers["idempotency-key"] == str(before.request_id)]
    assert {request.body for request in repeats} == {before.request.body}
    assert len(repeats) == 3, "the request itself, and once for each of its messages"
    ids = {email.to[0].split("@")[0]: email.id for email in resend.accepted}
    for name in ("repeated", "repeated2"):
        assert read_delivery(before.database, before.ids[name]).provider_message_id == ids[name]
    for message_id in before.messages:
        message = read_message(before.database, message_id)
        assert message.status is MessageStatus.SENT


def test_every_settled_delivery_and_attempt_survives_the_way_up_and_down(
    before: Before, open_sending: SendContextOpener, resend: ResendLoopback, stream: JetStream
) -> None:
    database = before.database
    migrate(database)
    assert [attempt.outcome for attempt in earlier_attempts(database, before.ids["sent"])] == ["transient", "sent"]
    sending = open_sending(resend_settings(resend))
    go_on(sending, before, stream)
    up = {name: before.status_of(name) for name in before.ids}
    attempts = {name: outcomes(database, id) for name, id in before.ids.items()}
    assert attempts["free"] == ["sent"]

    with database.transaction() as connection:
        command.downgrade(alembic_config(connection), BEFORE)
        kept: dict[int, str] = dict(
            connection.execute(text("SELECT id, status FROM message_deliveries")).tuples().all()
        )
        queues = connection.execute(
            text("SELECT drain_id, count(*) FROM message_deliveries WHERE message_id IS NULL GROUP BY 1")
        )
        assert dict(queues.tuples().all()) == {
            CONFIRMATION.type.queue_id: 2,
            SystemMailKind.REPORT.queue_id: 3,
        }
    assert kept == {before.ids[name]: status for name, status in up.items()}

    migrate(database)
    assert {name: before.status_of(name) for name in before.ids} == up
    assert {name: outcomes(database, id) for name, id in before.ids.items()} == attempts
