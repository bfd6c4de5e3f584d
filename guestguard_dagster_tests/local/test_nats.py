"""A NATS of our own keeps its streams, and says in one sentence why it cannot start."""

import asyncio
import signal
import socket
from pathlib import Path

import nats
import pytest

from guestguard_dagster.local.errors import LocalServiceError, PortTaken
from guestguard_dagster.local.nats import NatsServer, start_nats
from guestguard_dagster.local.ports import LOOPBACK, start_on_free_port


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stream_outlives_the_server(roomy_folder: Path, how: signal.Signals) -> None:
    server = _start(roomy_folder)
    asyncio.run(_publish(server))
    server.child.stop((how, 10.0))

    again = _start(roomy_folder)
    assert asyncio.run(_count(again)) == 1
    again.stop()


def test_a_taken_port_is_named(roomy_folder: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is taken by another program, so NATS cannot use it"):
            start_nats(roomy_folder, port=port)


def test_a_folder_that_cannot_hold_streams_is_a_sentence(roomy_folder: Path) -> None:
    (roomy_folder / "jetstream").write_text("not a folder")
    with pytest.raises(
        LocalServiceError, match="NATS stopped while starting: Can't start JetStream: storage directory is not"
    ):
        _start(roomy_folder)


def _start(folder: Path) -> NatsServer:
    return start_on_free_port(lambda port: start_nats(folder, port=port))


async def _publish(server: NatsServer) -> None:
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(name="kept", subjects=["kept"])
    await client.jetstream().publish("kept", b"{}")
    await client.close()


async def _count(server: NatsServer) -> int:
    client = await nats.connect(server.url)
    info = await client.jetstream().stream_info("kept")
    await client.close()
    return info.state.messages
