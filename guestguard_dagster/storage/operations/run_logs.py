"""The logs of Dagster's runs, in Dagster's own database: what no page of an asset shows is deleted when it is old."""

from collections.abc import Iterator
from datetime import timedelta

from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.operations.retention import CHUNK


def delete_run_logs(dagster: Database, older_than: timedelta, *, chunk: int = CHUNK) -> Iterator[int]:
    """Delete, chunk by chunk, log entries that tell of no asset and no check; yields how many each chunk had.

    Materializations stay for good: they are the assets' history. `dagster` is Dagster's own database.
    """
    before = dagster.now() - older_than
    with dagster.transaction() as connection:
        last: int | None = connection.execute(
            # Dagster writes instants without a zone, in UTC.
            sql(
                "SELECT max(id) FROM public.event_logs "
                "WHERE timestamp < CAST(:before AS timestamptz) AT TIME ZONE 'UTC'"
            ),
            {"before": before},
        ).scalar_one()
    after = 0
    while last is not None and after < last:
        with dagster.transaction() as connection:
            row = connection.execute(
                sql(
                    """
                    WITH looked_at AS (
                        SELECT id, asset_key, dagster_event_type FROM public.event_logs
                        WHERE id > :after AND id <= :last ORDER BY id LIMIT :chunk
                    ), deleted AS (
                        DELETE FROM public.event_logs WHERE id IN (
                            SELECT id FROM looked_at
                            WHERE asset_key IS NULL
                                AND dagster_event_type IS DISTINCT FROM 'ASSET_CHECK_EVALUATION'
                        ) RETURNING 1
                    )
                    SELECT (SELECT max(id) FROM looked_at) AS reached, (SELECT count(*) FROM deleted) AS deleted
                    """
                ),
                {"after": after, "last": last, "chunk": chunk},
            ).one()
        after = row.reached or last
        yield row.deleted
