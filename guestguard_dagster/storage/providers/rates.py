"""The shared rate limit of a provider account: the generic cell rate algorithm (GCRA) on the database's clock."""

from datetime import timedelta
from uuid import UUID

from guestguard_dagster.storage.database import Database, sql

# A run that has not said for this long that it uses the rate is gone.
SOLE_FOR = timedelta(seconds=60)


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
                    INSERT INTO rate_buckets AS b (account, theoretical_arrival)
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
                    INSERT INTO rate_buckets AS b (account, theoretical_arrival)
                    VALUES (:account, clock_timestamp() + :wait)
                    ON CONFLICT (account) DO UPDATE
                        SET theoretical_arrival = GREATEST(b.theoretical_arrival, clock_timestamp() + :wait)
                    """
                ),
                {"account": account, "wait": wait},
            )

    def become_sole(self, account: str, token: UUID) -> bool:
        """Whether this run, by its token, is the one that uses the whole rate from now on, or still is."""
        with self._database.transaction(durable=False) as connection:
            return bool(
                connection.execute(
                    sql(
                        """
                        UPDATE rate_buckets SET run_token = :token, run_until = clock_timestamp() + :holds
                        WHERE account = :account
                          AND (run_token = :token OR run_until IS NULL OR run_until <= clock_timestamp())
                        """
                    ),
                    {"account": account, "token": token, "holds": SOLE_FOR},
                ).rowcount
            )

    def leave_to_others(self, account: str, token: UUID) -> None:
        """This run uses the rate no more."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                sql(
                    "UPDATE rate_buckets SET run_token = NULL, run_until = NULL "
                    "WHERE account = :account AND run_token = :token"
                ),
                {"account": account, "token": token},
            )
