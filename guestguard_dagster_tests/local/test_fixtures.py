"""The promises of conftest.py to all other tests."""

import asyncio

import nats
import psycopg
import pytest

from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import current_revision, newest_revision


@pytest.mark.parametrize("time", [1, 2])
def test_each_test_has_a_migrated_database_of_its_own(database: Database, time: int) -> None:
    assert current_revision(database) == newest_revision()
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE public.left_behind (id int)")
        assert time in {1, 2}


def test_an_empty_database_has_no_schema_of_ours(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regnamespace('guestguard_messaging')").fetchone() == (None,)


def test_the_nats_server_keeps_streams(nats_server: NatsServer) -> None:
    async def publish_and_count() -> int:
        client = await nats.connect(nats_server.url)
        jetstream = client.jetstream()
        await jetstream.add_stream(name="fixture-test", subjects=["fixture-test.*"])
        await jetstream.publish("fixture-test.one", b"{}")
        info = await jetstream.stream_info("fixture-test")
        await client.close()
        return info.state.messages

    assert asyncio.run(publish_and_count()) == 1
