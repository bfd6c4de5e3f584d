"""A send run in a process of its own, without Dagster: what a test kills, freezes and stops by real signals."""

import logging
import multiprocessing
import os
import signal
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import IntEnum
from multiprocessing.connection import Connection
from threading import Event
from types import TracebackType
from typing import Self
from uuid import UUID

import psutil
from pydantic import SecretStr

from guestguard_dagster.delivery.claim import claim
from guestguard_dagster.delivery.dispatch import dispatch
from guestguard_dagster.delivery.graceful_stop import run_until_stopped
from guestguard_dagster.delivery.load_recipients import load_recipients
from guestguard_dagster.delivery.mark_sent import mark_sent
from guestguard_dagster.delivery.record_deliveries import record_deliveries
from guestguard_dagster.delivery.render import render
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.notifications.rules import Rules
from guestguard_dagster.notifications.sending import receive_and_send
from guestguard_dagster.senders.picker import Senders
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database, DatabaseUnavailable
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster_tests.crash.gates import Gate, GatedSender, Stop
from guestguard_dagster_tests.crash.poison import Poison, poison_composer
from guestguard_dagster_tests.crash.providers import Access, open_senders
from guestguard_dagster_tests.crash.waiting import PATIENCE_SECONDS, wait_until

# A fork of a server that has imported everything starts in milliseconds, and shares nothing with the test's process.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["__main__", __name__])
_SETTINGS = Settings.model_validate({"guestguard_secret_key": "a secret for tests only"})


@dataclass(frozen=True, slots=True)
class Order:
    """What one run is to do. With a `stop` it waits there until its gate is opened; some guest may be `poison`."""

    database_url: str = field(repr=False)
    access: Access
    message_ids: tuple[UUID, ...]
    run_id: str
    lease_seconds: float
    stop: Stop | None = None
    nats_url: str | None = None
    poison: Poison | None = None


@dataclass(frozen=True, slots=True)
class EventRunOrder:
    """What one event run of events is to do. With a `stop` it waits there until its gate is opened."""

    database_url: str = field(repr=False)
    access: Access
    nats_url: str
    declaration: StreamDeclaration
    kind: NotificationType
    run_id: str
    lease_seconds: float
    linger_seconds: float
    stop: Stop | None = None


class Ending(IntEnum):
    """Exit codes of a worker."""

    KILLED = -signal.SIGKILL
    DONE = 0
    TERMINATED = 3
    DATABASE_AWAY = 4


class Worker:
    """The test's handle on the process. Use it as a context manager: at the end it is gone in any case."""

    def __init__(self, order: Order | EventRunOrder) -> None:
        self._gate, workers_end = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_work, args=(order, workers_end), daemon=True)
        self._process.start()
        workers_end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """It is gone in any case."""
        self.kill()
        self._gate.close()

    @property
    def pid(self) -> int:
        if self._process.pid is None:
            raise RuntimeError("the worker was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.join()

    def freeze(self) -> bool:
        """SIGSTOP, and wait until it stands still; False when it has ended by itself."""
        try:
            os.kill(self.pid, signal.SIGSTOP)
            process = psutil.Process(self.pid)
            wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "the worker stands still")
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False
        return True

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM; it ends by itself."""
        self._process.terminate()

    def wait(self) -> Ending:
        """Wait for its end."""
        self._process.join(PATIENCE_SECONDS)
        if self._process.exitcode is None:
            raise AssertionError(f"the worker did not end within {PATIENCE_SECONDS} seconds")
        return Ending(self._process.exitcode)

    def wait_at_gate(self) -> None:
        """Wait until it has come to its stop."""
        if not self._gate.poll(PATIENCE_SECONDS):
            raise AssertionError(f"the worker did not come to its stop within {PATIENCE_SECONDS} seconds")
        self._gate.recv()

    def open_gate(self) -> None:
        self._gate.send(None)


def _work(order: Order | EventRunOrder, gate: Connection) -> None:
    # That the database is away is what is played.
    logging.getLogger("guestguard_dagster").setLevel(logging.ERROR)
    # As in a Dagster run, SIGTERM is an exception in the main thread.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if isinstance(order, EventRunOrder):
            _receive_and_send(order, gate)
        else:
            _send(order, gate)
    except KeyboardInterrupt:
        raise SystemExit(Ending.TERMINATED) from None
    except DatabaseUnavailable:
        raise SystemExit(Ending.DATABASE_AWAY) from None


def _watched(senders: Senders, stop: Stop | None, gate: Connection) -> Senders:
    if stop is None:
        return senders
    watched = Gate(stop, gate)
    return replace(senders, email=GatedSender(senders.email, watched), sms=GatedSender(senders.sms, watched))


def _receive_and_send(order: EventRunOrder, gate: Connection) -> None:
    senders = _watched(open_senders(order.access), order.stop, gate)
    lease_time = timedelta(seconds=order.lease_seconds)
    with (
        Database(order.database_url, application_name=order.run_id) as database,
        JetStream(NatsAccess((order.nats_url,)), order.declaration) as stream,
    ):
        sending = SendContext.open(database, senders, _SETTINGS, run_id=order.run_id, lease_time=lease_time)
        rules, linger = Rules.from_settings(_SETTINGS), timedelta(seconds=order.linger_seconds)
        try:
            run_until_stopped(lambda stop: receive_and_send(sending, stream, rules, order.kind, stop, linger=linger))
        finally:
            senders.close()


def _send(order: Order, gate: Connection) -> None:
    senders = _watched(open_senders(order.access), order.stop, gate)
    ids = order.message_ids
    if order.poison is not None:
        poison_composer(order.poison)
    with Database(order.database_url, application_name=order.run_id) as database:
        sending = SendContext.open(
            database,
            senders,
            _SETTINGS.model_copy(update={"nats_url": order.nats_url and SecretStr(order.nats_url)}),
            run_id=order.run_id,
            lease_time=timedelta(seconds=order.lease_seconds),
        )
        try:
            claim(sending, ids, Event())
            load_recipients(sending, ids)
            render(sending, ids)
            run_until_stopped(lambda stop: dispatch(sending, ids, stop))
            record_deliveries(sending, ids)
            mark_sent(sending, ids)
        finally:
            senders.close()
