"""Lets NATS know what happened on the web: what is in the outbox, and which callbacks of providers were stored.

A thread of the web process does it, woken when there is news; to the outbox it looks by itself as well.
"""

import json
import logging
import threading
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

from guestguard_dagster.domain.callbacks import ProviderEvent
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database, DatabaseFailed
from guestguard_dagster.storage.outbox import OutboxRepo
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.errors import StreamFailed
from guestguard_dagster.streams.jetstream import JetStream

logger = logging.getLogger(__name__)

_LOOKS_EVERY = timedelta(seconds=15)
_STOP_SECONDS = 10
_MOST_ANNOUNCED = 10_000


def publish_waiting(outbox: OutboxRepo, stream: JetStream) -> int:
    """Publish what waits in the outbox; returns how many events. Raises StreamFailed, and loses nothing."""
    published = 0
    while waiting := outbox.waiting():
        stream.publish_many([(event.type, event.payload, str(event.id)) for event in waiting])
        outbox.mark_published([event.id for event in waiting])
        published += len(waiting)
    return published


def announce_callbacks(stream: JetStream, callback_ids: Sequence[int]) -> None:
    """Tell the job that applies them. Raises StreamFailed; the sensor looks into their table as well."""
    kind = ProviderEvent.CALLBACK_STORED
    stream.publish_many([(kind, json.dumps({"callback_id": id}).encode(), f"callback:{id}") for id in callback_ids])


class Publisher:
    """The thread. Without NATS_URL nothing is published, and nothing is lost: everything lies in its table."""

    def __init__(self, database: Database, settings: Settings, declaration: StreamDeclaration) -> None:
        """`declaration` is of the stream that the outbox's events go to.

        Raises SettingsInvalid where NATS is configured by half.
        """
        self._outbox = OutboxRepo(database)
        self._access = NatsAccess.from_settings(settings) if settings.nats_url is not None else None
        self._declaration = declaration
        self._callbacks_declaration = StreamDeclaration.of_callbacks(settings)
        self._callback_ids: deque[int] = deque(maxlen=_MOST_ANNOUNCED)
        self._news = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        if self._access is not None:
            self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._news.set()

    def announce(self, callback_id: int) -> None:
        """This callback was stored."""
        if self._access is not None:
            self._callback_ids.append(callback_id)
            self._news.set()

    def stop(self) -> None:
        """Safe to call twice, and without `start`."""
        self._stopping = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        if self._access is None:
            return
        with (
            JetStream(self._access, self._declaration) as stream,
            JetStream(self._access, self._callbacks_declaration) as callbacks,
        ):
            problem = ""
            while not self._stopping:
                self._news.clear()
                known, problem = problem, self._publish(stream, callbacks)
                if problem and problem != known:
                    logger.warning("what happened on the web waits for NATS: %s", problem)
                self._news.wait(_LOOKS_EVERY.total_seconds())

    def _publish(self, stream: JetStream, callbacks: JetStream) -> str:
        """Publish what there is; returns why that did not work, or nothing."""
        announced = [self._callback_ids.popleft() for _ in range(len(self._callback_ids))]
        try:
            if announced:
                callbacks.survey()  # makes the stream where it is missing
                announce_callbacks(callbacks, announced)
            publish_waiting(self._outbox, stream)
        except (StreamFailed, DatabaseFailed) as error:
            return str(error)
        return ""
