"""`guestguard publish`: what a person types becomes an event on the stream, and that event the mail it should."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from guestguard_dagster.cli import cli
from guestguard_dagster.domain.events import Guest
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.notifications.types.fraud_alert import FRAUD_ALERT
from guestguard_dagster.notifications.types.invitation import INVITATION
from guestguard_dagster.settings import load_settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster_tests.dagster_rooms import environment
from guestguard_dagster_tests.factories import make_event, make_guests
from guestguard_dagster_tests.streams.events import connect, stream_settings


@pytest.fixture
def stream(
    monkeypatch: pytest.MonkeyPatch, database_url: str, nats_server: NatsServer, tmp_path: Path
) -> Iterator[JetStream]:
    """The stream of an empty project's settings."""
    monkeypatch.chdir(tmp_path)
    with environment(monkeypatch, database_url, None), monkeypatch.context() as patched:
        for name, value in (stream_settings() | {"nats_url": nats_server.url}).items():
            patched.setenv(name.upper(), value)
        with connect(nats_server.url, declare_stream(load_settings())) as stream:
            stream.survey()
            yield stream


@pytest.fixture
def guest(database: Database) -> Guest:
    """The first guest of the newest event."""
    make_guests(database, make_event(database), 2)
    return make_guests(database, make_event(database, name="The newest"), 2)[0]


@pytest.mark.parametrize(
    ("command", "kind", "options", "fields"),
    [
        (
            "rsvp-confirmed",
            CONFIRMATION.type,
            ["--response", "maybe"],
            {"response": "maybe", "plus_ones": 1},
        ),
        (
            "fraud-scored",
            FRAUD_ALERT.type,
            ["--score", "70", "--reason", "a"],
            {"score": 70, "reasons": ["a"]},
        ),
        ("invitation-send", INVITATION.type, [], {"event_name": "The newest"}),
    ],
)
def test_what_is_not_given_comes_from_the_newest_event(
    stream: JetStream,
    guest: Guest,
    command: str,
    kind: NotificationType,
    options: list[str],
    fields: dict[str, object],
) -> None:
    result = _publish(command, *options, "--message-id", "one")
    (message,) = stream.fetch(kind, size=10, wait=timedelta(seconds=1))
    payload = json.loads(message.arrival.data)
    assert payload.items() >= fields.items()
    assert (payload["guest_id"], payload["event_id"]) == (str(guest.id), str(guest.event_id))
    assert message.arrival.message_id == "one"
    assert f"sequence 1 of stream {stream.declaration.name}" in result.output


def test_without_any_guest_it_says_what_to_do(stream: JetStream) -> None:
    assert stream.survey().drift == ()
    result = _publish("rsvp-confirmed", fails=True)
    assert "create some with `guestguard demo --keep`" in result.output


def test_a_server_that_is_away_is_a_sentence(stream: JetStream, guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert guest.email is not None
    assert stream.survey().drift == ()
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    assert "NATS at 127.0.0.1:1 cannot be reached" in _publish("rsvp-confirmed", fails=True).output


def _publish(*arguments: str, fails: bool = False) -> Result:
    result = CliRunner().invoke(cli, ["publish", *arguments])
    assert (result.exit_code != 0) is fails, result.output
    return result
