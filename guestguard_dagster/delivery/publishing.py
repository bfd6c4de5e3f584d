"""Lets what is in the outbox reach NATS: a thread that is woken when there is news, and looks by itself as well."""

import logging
import threading
from datetime import timedelta

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


def publish_waiting(outbox: OutboxRepo, stream: JetStream) -> int:
    """Publish what waits in the outbox; returns how many events. Raises StreamFailed, and loses nothing."""
    published = 0
    while waiting := outbox.waiting():
        stream.publish_many([(event.type, event.payload, str(event.id)) for event in waiting])
        outbox.mark_published([event.id for event in waiting])
        published += len(waiting)
    return published


class Publisher:
    """The outbox's thread. Without NATS_URL nothing is published, and nothing is lost: events wait in the outbox."""

    def __init__(self, database: Database, settings: Settings) -> None:
        """Raises SettingsInvalid where NATS is configured by half."""
        self._outbox = OutboxRepo(database)
        self._access = NatsAccess.from_settings(settings) if settings.nats_url is not None else None
        self._declaration = StreamDeclaration.from_settings(settings)
        self._news = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        if self._access is not None:
            self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
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
        with JetStream(self._access, self._declaration) as stream:
            was_away = False
            while not self._stopping:
                self._news.clear()
                try:
                    publish_waiting(self._outbox, stream)
                    was_away = False
                except (StreamFailed, DatabaseFailed) as error:
                    if not was_away:
                        logger.warning("events wait in the outbox: %s", error)
                    was_away = True
                self._news.wait(_LOOKS_EVERY.total_seconds())
