"""System mail: written once per occasion and address, each with the delivery that the engine works off."""

from collections.abc import Collection, Sequence
from itertools import groupby

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.system_mail import SystemMail, SystemMailKind
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.ledger.position import settle_what_had_left
from guestguard_dagster.storage.tables.deliveries import delivery_batches, message_deliveries
from guestguard_dagster.storage.tables.operations import memos


def post(connection: Connection, new: Sequence[SystemMail]) -> int:
    """Write these mails within the caller's transaction; returns how many of them nobody had yet."""
    if not new:
        return 0
    statement = insert_or_skip(memos).on_conflict_do_nothing().returning(memos.c.id, memos.c.kind)
    rows = [
        {
            "id": mail.id,
            "kind": mail.kind,
            "occasion": mail.occasion,
            "address": mail.address,
            "name": mail.name,
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
        }
        for mail in new
    ]
    written = connection.execute(statement, rows).all()
    for kind, of_kind in groupby(sorted(written, key=lambda row: row.kind), lambda row: SystemMailKind(row.kind)):
        ids = [row.id for row in of_kind]
        batch = insert(delivery_batches).values(queue_id=kind.queue_id, size=len(ids)).returning(delivery_batches.c.id)
        batch_id = connection.execute(batch).scalar_one()
        connection.execute(
            insert(message_deliveries),
            [{"memo_id": id, "channel": MessageChannel.EMAIL, "batch_id": batch_id} for id in ids],
        )
    if written:
        settle_what_had_left(connection, [row.id for row in written])
    return len(written)


class SystemMailRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def of_deliveries(self, delivery_ids: Collection[int]) -> dict[int, SystemMail]:
        """The system mail of each of these deliveries; deliveries of others are missing."""
        query = (
            select(
                message_deliveries.c.id,
                memos.c.kind,
                memos.c.occasion,
                memos.c.address,
                memos.c.name,
                memos.c.subject,
                memos.c.text,
                memos.c.html,
            )
            .join(memos, memos.c.id == message_deliveries.c.memo_id)
            .where(message_deliveries.c.id.in_(delivery_ids))
        )
        with self._database.transaction() as connection:
            return {
                row.id: SystemMail(
                    SystemMailKind(row.kind), row.occasion, row.address, row.name, row.subject, row.text, row.html
                )
                for row in connection.execute(query)
            }

    def count(self, occasion: str) -> int:
        """How many people have, or will have, a mail about this."""
        query = select(func.count()).where(memos.c.occasion == occasion)
        with self._database.transaction() as connection:
            return connection.execute(query).scalar_one()
