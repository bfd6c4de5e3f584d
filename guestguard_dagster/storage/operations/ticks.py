"""When our sensors last ticked: a sign of life of Dagster's daemon and code server that anybody can ask for."""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql import func

from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.tables.operations import sensor_ticks


class TickRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, sensor: str) -> None:
        """This sensor ticks now."""
        now = func.clock_timestamp()
        ticked = insert(sensor_ticks).values(sensor=sensor, ticked_at=now)
        statement = ticked.on_conflict_do_update(index_elements=["sensor"], set_={"ticked_at": now})
        with self._database.transaction(durable=False) as connection:
            connection.execute(statement)

    def ages(self) -> dict[str, timedelta]:
        """How long ago each sensor ticked last; those that never did are missing."""
        query = select(sensor_ticks.c.sensor, func.clock_timestamp() - sensor_ticks.c.ticked_at)
        with self._database.transaction() as connection:
            return dict(connection.execute(query).all())
