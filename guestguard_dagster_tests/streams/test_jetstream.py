"""JetStream on a real server: bounded connections, one declaration, fetched and settled as promised."""

import asyncio
import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import nats
import nkeys
import pytest
import trustme
from nats.js.api import ConsumerConfig, StreamConfig

from guestguard_dagster.local.nats import NatsServer, start_nats
from guestguard_dagster.local.ports import free_port, is_free, start_on_free_port
from guestguard_dagster.notifications.registry import TYPES
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.notifications.types.fraud_alert import FRAUD_ALERT
from guestguard_dagster.notifications.types.invitation import INVITATION
from guestguard_dagster.settings import Settings, SettingsInvalid
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration, covers
from guestguard_dagster.streams.errors import StreamRefused, StreamUnavailable
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster.streams.messages import Backlog
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.streams.events import connect, declare
from guestguard_dagster_tests.streams.operator_mode import OperatorMode

RSVP = CONFIRMATION.type
SOON = timedelta(seconds=1)
# Two seconds are promised; the rest is for a busy machine.
PROMPTLY = 3.0


@pytest.fixture
def declaration() -> StreamDeclaration:
    return declare()


@pytest.fixture
def stream(nats_server: NatsServer, declaration: StreamDeclaration) -> Iterator[JetStream]:
    with connect(nats_server.url, declaration) as stream:
        stream.survey()
        yield stream


def test_stream_and_consumers_are_made_where_they_are_missing(stream: JetStream) -> None:
    again = stream.survey()
    assert again.drift == ()
    assert again.backlogs == dict.fromkeys(TYPES, Backlog(0, 0))


def test_a_setup_that_differs_is_reported_and_left_alone(
    nats_server: NatsServer, declaration: StreamDeclaration
) -> None:
    consumer = declaration.consumers[RSVP]

    async def set_up_otherwise() -> None:
        client = await nats.connect(nats_server.url)
        jetstream = client.jetstream()
        await jetstream.add_stream(StreamConfig(name=declaration.name, subjects=[consumer.subject]))
        config = ConsumerConfig(durable_name=consumer.name, filter_subject=consumer.subject, max_deliver=3, ack_wait=5)
        await jetstream.add_consumer(declaration.name, config)
        await client.close()

    asyncio.run(set_up_otherwise())
    with connect(nats_server.url, declaration) as stream:
        drift = stream.survey().drift
        assert stream.survey().drift == drift
    for kind in (FRAUD_ALERT.type, INVITATION.type):
        subject = declaration.consumers[kind].subject
        assert f"stream {declaration.name} does not take in {subject}: nothing of it arrives" in drift
    assert f"consumer {consumer.name} has max_deliver 3 where -1 is declared" in drift
    assert f"consumer {consumer.name} has ack_wait 5.0 where 30.0 is declared" in drift


def test_what_is_fetched_says_where_it_lies_and_how_often_it_came(stream: JetStream) -> None:
    published = stream.publish(RSVP, b'{"a": 1}', message_id="one")
    (first,) = stream.fetch(RSVP, size=10, wait=SOON)
    stream.settle(retries=[(first, timedelta(milliseconds=1))])
    (second,) = stream.fetch(RSVP, size=10, wait=SOON)

    assert (first.arrival.stream, first.arrival.sequence) == (published.stream, published.sequence)
    assert first.arrival.data == b'{"a": 1}'
    assert first.arrival.message_id == "one"
    assert (first.arrival.deliveries, second.arrival.deliveries) == (1, 2)
    assert first.arrival.key == second.arrival.key
    assert [arrival.key for arrival in stream.read(1, 100)] == [first.arrival.key]


def test_settled_deliveries_never_come_again(stream: JetStream) -> None:
    stream.publish_many([(RSVP, b"{}", None)] * 4)
    messages = stream.fetch(RSVP, size=10, wait=SOON)
    stream.settle(acks=messages[:2], terms=messages[2:])
    assert stream.survey().backlogs[RSVP] == Backlog(0, 0)
    assert stream.fetch(RSVP, size=10, wait=timedelta(milliseconds=50)) == []


def test_the_same_message_id_is_stored_once(stream: JetStream) -> None:
    first = stream.publish(RSVP, b"{}", message_id="same")
    second = stream.publish(RSVP, b"{}", message_id="same")
    assert (first.duplicate, second.duplicate) == (False, True)
    assert second.sequence == first.sequence


def test_a_server_that_is_down_is_told_at_once(declaration: StreamDeclaration) -> None:
    port = free_port()
    with connect(f"nats://user:secret@127.0.0.1:{port}", declaration) as stream:
        started = time.monotonic()
        with pytest.raises(StreamUnavailable, match=f"127.0.0.1:{port} cannot be reached") as caught:
            stream.survey()
    assert time.monotonic() - started < PROMPTLY
    assert "secret" not in str(caught.value)


def test_a_server_that_keeps_silent_is_given_up_within_two_seconds(declaration: StreamDeclaration) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with connect(f"nats://127.0.0.1:{port}", declaration) as stream:
            started = time.monotonic()
            with pytest.raises(StreamUnavailable, match="no answer within 2 seconds"):
                stream.survey()
            assert time.monotonic() - started < PROMPTLY


@pytest.mark.parametrize(
    ("options", "right", "wrong"),
    [
        (["--user", "ada", "--pass", "right"], {"user": "ada", "password": "right"}, {"user": "ada", "password": "x"}),
        (["--auth", "right"], {"token": "right"}, {"token": "wrong"}),
    ],
)
def test_credentials_open_the_door_and_wrong_ones_are_told_at_once(
    options: list[str], right: dict[str, str], wrong: dict[str, str], declaration: StreamDeclaration, tmp_path: Path
) -> None:
    with _server_with(tmp_path, options) as url:
        with JetStream(NatsAccess((url,), **right), declaration) as stream:  # type: ignore[arg-type]
            assert stream.survey().drift == ()
        started = time.monotonic()
        with (
            JetStream(NatsAccess((url,), **wrong), declaration) as stream,  # type: ignore[arg-type]
            pytest.raises(StreamRefused, match="refuses these credentials"),
        ):
            stream.survey()
        assert time.monotonic() - started < PROMPTLY


def test_an_nkey_opens_the_door(declaration: StreamDeclaration, tmp_path: Path) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    seed_file, config = tmp_path / "seed", tmp_path / "nats.conf"
    seed_file.write_bytes(seed)
    public_key = nkeys.from_seed(bytearray(seed)).public_key.decode()
    config.write_text(f'authorization {{ users = [ {{ nkey: "{public_key}" }} ] }}')
    with _server_with(tmp_path, ["-c", str(config)]) as url:
        with JetStream(NatsAccess((url,), nkey_seed_file=seed_file), declaration) as stream:
            assert stream.survey().drift == ()
        seed_file.write_text("no seed at all")
        with (
            JetStream(NatsAccess((url,), nkey_seed_file=seed_file), declaration) as stream,
            pytest.raises(StreamRefused, match="credentials"),
        ):
            stream.survey()


def test_a_credentials_file_opens_the_door(declaration: StreamDeclaration, tmp_path: Path) -> None:
    mode, stranger = OperatorMode.make(), OperatorMode.make()
    config, creds_file = tmp_path / "nats.conf", tmp_path / "user.creds"
    config.write_text(mode.server_config)
    with _server_with(tmp_path, ["-c", str(config)]) as url:
        creds_file.write_text(mode.creds)
        with JetStream(NatsAccess((url,), creds_file=creds_file), declaration) as stream:
            assert stream.survey().drift == ()
            stream.publish(RSVP, b"{}")
            (message,) = stream.fetch(RSVP, size=10, wait=SOON)
            stream.settle(acks=[message])
        creds_file.write_text(stranger.creds)
        with (
            JetStream(NatsAccess((url,), creds_file=creds_file), declaration) as stream,
            pytest.raises(StreamRefused, match="credentials"),
        ):
            stream.survey()


def test_tls_trusts_the_authority_that_is_named_and_no_other(declaration: StreamDeclaration, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    ca_file, pem, key = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(ca_file)
    certificate.cert_chain_pems[0].write_to_path(pem)
    certificate.private_key_pem.write_to_path(key)
    with _server_with(tmp_path, ["--tls", "--tlscert", str(pem), "--tlskey", str(key)]) as url:
        with JetStream(NatsAccess((url,), tls_ca_file=ca_file), declaration) as stream:
            assert stream.survey().drift == ()
        with (
            JetStream(NatsAccess((url,)), declaration) as stream,
            pytest.raises(StreamRefused, match="TLS handshake failed"),
        ):
            stream.survey()


def test_a_connection_survives_a_restart_of_the_server(tmp_path: Path, declaration: StreamDeclaration) -> None:
    server = start_on_free_port(lambda port: start_nats(tmp_path, port=port))
    with connect(server.url, declaration) as stream:
        stream.survey()
        stream.publish(RSVP, b"{}")
        server.stop()
        with pytest.raises(StreamUnavailable):
            stream.fetch(RSVP, size=10, wait=SOON)
        server = start_nats(tmp_path, port=server.port)
        try:
            (message,) = stream.fetch(RSVP, size=10, wait=SOON)
            stream.settle(acks=[message])
            assert stream.survey().backlogs[RSVP] == Backlog(0, 0)
        finally:
            server.stop()


@pytest.mark.parametrize(
    ("pattern", "subject", "is_covered"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.>", "a.b.c", True),
        (">", "a", True),
        ("a.>", "a", False),
        ("a.*", "a.b.c", False),
        ("a.b.c", "a.b", False),
        ("a.c", "a.b", False),
    ],
)
def test_wildcards_of_subjects(pattern: str, subject: str, is_covered: bool) -> None:
    assert covers(pattern, subject) is is_covered


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "NATS_URL is not set"),
        ({"nats_url": "http://x"}, "NATS_URL cannot be read"),
        ({"nats_url": "nats://x", "nats_user": "ada"}, "NATS_USER and NATS_PASSWORD belong together"),
        ({"nats_url": "nats://x", "nats_token": "t", "nats_creds_file": "c"}, "set one of them"),
        ({"nats_url": "nats://x", "nats_creds_file": "/nowhere/c"}, "NATS_CREDS_FILE: there is no file"),
        ({"nats_url": "nats://x", "nats_tls_cert_file": "c"}, "belong together"),
    ],
)
def test_settings_that_contradict_themselves_are_refused_in_a_sentence(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        NatsAccess.from_settings(Settings.model_validate(settings))


@contextmanager
def _server_with(folder: Path, options: list[str]) -> Iterator[str]:
    """A server of its own that asks for credentials; its address."""
    port = free_port()
    command = ["nats-server", "--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", str(folder)]
    program = str(Path(sysconfig.get_path("scripts")) / command[0])
    with subprocess.Popen([program, *command[1:], *options], stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: not is_free(port), "the server listens")
            yield f"nats://127.0.0.1:{port}"
        finally:
            server.terminate()
