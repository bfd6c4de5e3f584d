"""The shared rate limit of a provider account: the generic cell rate algorithm (GCRA) on the database's clock."""

from datetime import timedelta

from guestguard_dagster.storage.database import Database, sql


class RateRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(
        self, account: str, *, cost: int, per_second: float, backlog_below: timedelta | None
    ) -> timedelta | None:
        """Reserve `cost` units at `per_second`; returns how long to wait before using them.

        With `backlog_below`, nothing is reserved (None) while others' reservations reach further than that into the
        future: so broadcasts leave room in which transactional mail is never far behind.
        """
        with self._database.transaction(durable=False) as connection:
            wait: timedelta | None = connection.execute(
                sql(
                    """
                    INSERT INTO guestguard.rate_buckets AS b (account, theoretical_arrival)
                    VALUES (:account, clock_timestamp() + :spent)
                    ON CONFLICT (account) DO UPDATE
                        SET theoretical_arrival = GREATEST(b.theoretical_arrival, clock_timestamp()) + :spent
                        WHERE :unbounded OR b.theoretical_arrival <= clock_timestamp() + :backlog
                    RETURNING GREATEST(theoretical_arrival - :spent - clock_timestamp(), interval '0')
                    """
                ),
                {
                    "account": account,
                    "spent": timedelta(seconds=cost / per_second),
                    "unbounded": backlog_below is None,
                    "backlog": backlog_below or timedelta(),
                },
            ).scalar_one_or_none()
            return wait

    def push_back(self, account: str, *, wait: timedelta) -> None:
        """The provider itself asked to wait (429 with retry-after): nobody reserves before that."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                sql(
                    """
                    INSERT INTO guestguard.rate_buckets AS b (account, theoretical_arrival)
                    VALUES (:account, clock_timestamp() + :wait)
                    ON CONFLICT (account) DO UPDATE
                        SET theoretical_arrival = GREATEST(b.theoretical_arrival, clock_timestamp() + :wait)
                    """
                ),
                {"account": account, "wait": wait},
            )
