"""`guestguard publish`: an event as the Go services would publish it, for trying out what it brings about.

What is not given comes from the newest event that has guests: after `guestguard demo --keep`, that is the demo's.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from guestguard_dagster.local.console import tell
from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.folder import DEFAULT_NAME, DataFolder
from guestguard_dagster.notifications.definition import NotificationDefinition, Party
from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.settings import Settings, load_settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.errors import StreamFailed
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster.streams.messages import Published


def run_publish(
    project: Path,
    definition: NotificationDefinition[Any],
    given: Mapping[str, object],
    *,
    event_id: UUID | None,
    guest_id: UUID | None,
    message_id: str | None,
) -> None:
    """Publish one event about this guest, with the fields that are given; raises LocalServiceError."""
    settings = _settings(project)
    with Database(settings.require_database_url(), application_name="guestguard-publish") as database:
        party = find_party(database, event_id=event_id, guest_id=guest_id)
    # what may be given several times is empty when it is not given
    payload = definition.sample(party) | {name: value for name, value in given.items() if value not in (None, ())}
    try:
        with JetStream(NatsAccess.from_settings(settings), declare_stream(settings)) as stream:
            stream.survey()
            published = stream.publish(definition.type, json.dumps(payload).encode(), message_id=message_id)
            subject = stream.declaration.consumers[definition.type].subject
    except StreamFailed as problem:
        raise LocalServiceError(str(problem)) from None
    _show(published, subject, payload)


def find_party(database: Database, *, event_id: UUID | None = None, guest_id: UUID | None = None) -> Party:
    """The first guest with an email of the newest event that has one, or the one that is meant."""
    query = text(
        """
        SELECT e.id AS event_id, e.name AS event_name, e.venue, e.starts_at, u.name AS host_name,
               g.id AS guest_id, g.name AS guest_name, g.email AS guest_email
        FROM guests g
        JOIN events e ON e.id = g.event_id
        JOIN event_collaborators c ON c.event_id = e.id AND c.role = 'owner'
        JOIN users u ON u.id = c.user_id
        WHERE g.removed_at IS NULL AND g.email IS NOT NULL
          AND (CAST(:event_id AS uuid) IS NULL OR e.id = :event_id)
          AND (CAST(:guest_id AS uuid) IS NULL OR g.id = :guest_id)
        ORDER BY e.created_at DESC, g.created_at, g.name LIMIT 1
        """
    )
    with database.transaction() as connection:
        row = connection.execute(query, {"event_id": event_id, "guest_id": guest_id}).one_or_none()
    if row is None:
        raise LocalServiceError(
            "there is no such guest with an email; create some with `guestguard demo --keep`, or check the ids"
        )
    return Party(**row._asdict())


def _settings(project: Path) -> Settings:
    """The settings; for what they leave open, what runs in this folder."""
    settings = load_settings(env_file=project / ".env")
    running = DataFolder(project / DEFAULT_NAME).running()
    if running is None or (settings.database_url is not None and settings.nats_url is not None):
        return settings
    return load_settings(environ=running.environ, env_file=project / ".env")


def _show(published: Published, subject: str, payload: Mapping[str, object]) -> None:
    twice = " (the stream had it already)" if published.duplicate else ""
    tell(f"{subject}: sequence {published.sequence} of stream {published.stream}{twice}")
    tell(json.dumps(payload, indent=2, ensure_ascii=False))
