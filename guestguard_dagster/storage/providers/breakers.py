"""Circuit breakers, one row per provider account, seen by all processes: a row means that the breaker is open."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from guestguard_dagster.storage.database import Database

FIRST_OPEN_TIME = timedelta(seconds=30)
LONGEST_OPEN_TIME = timedelta(hours=1)
_PROBE_HOLDS_FOR = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Breaker:
    """An open breaker. `remaining` is the time until one process may probe; zero once that time has come.

    `open_for` is how long it opens this time.
    """

    account: str
    reason: str
    opened_at: datetime
    open_until: datetime
    remaining: timedelta
    open_for: timedelta


class BreakerRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, account: str) -> Breaker | None:
        """The open breaker of this account, or None when it is closed."""
        with self._database.transaction() as connection:
            row = connection.execute(
                text(
                    "SELECT account, reason, opened_at, open_until, "
                    "GREATEST(open_until - clock_timestamp(), interval '0') AS remaining, "
                    "make_interval(secs => open_seconds) AS open_for "
                    "FROM breakers WHERE account = :account"
                ),
                {"account": account},
            ).one_or_none()
            return None if row is None else Breaker(*row)

    def open(
        self,
        account: str,
        *,
        reason: str,
        first: timedelta = FIRST_OPEN_TIME,
        longest: timedelta = LONGEST_OPEN_TIME,
    ) -> Breaker:
        """Open the breaker for `first`, or open it again for twice as long, up to `longest`, after a failed probe.

        News from hand-offs that were under way when it opened does not lengthen it.
        """
        with self._database.transaction() as connection:
            row = connection.execute(
                text(
                    """
                    INSERT INTO breakers AS b (account, reason, opened_at, open_until, open_seconds)
                    VALUES (:account, :reason, clock_timestamp(),
                            clock_timestamp() + make_interval(secs => :first), :first)
                    ON CONFLICT (account) DO UPDATE SET
                        reason = :reason,
                        open_seconds = CASE WHEN b.open_until > clock_timestamp() THEN b.open_seconds
                            ELSE GREATEST(LEAST(b.open_seconds * 2, :longest), :first) END,
                        open_until = CASE WHEN b.open_until > clock_timestamp() THEN b.open_until
                            ELSE clock_timestamp() + make_interval(
                                secs => GREATEST(LEAST(b.open_seconds * 2, :longest), :first)) END,
                        probe_token = NULL, probe_expires_at = NULL
                    RETURNING account, reason, opened_at, open_until,
                        GREATEST(open_until - clock_timestamp(), interval '0'), make_interval(secs => open_seconds)
                    """
                ),
                {
                    "account": account,
                    "reason": reason,
                    "first": max(1, round(first.total_seconds())),
                    "longest": round(longest.total_seconds()),
                },
            ).one()
            return Breaker(*row)

    def win_probe(self, account: str) -> UUID | None:
        """After the open time: exactly one process gets a token, and may send one recipient."""
        token = uuid4()
        with self._database.transaction() as connection:
            won = connection.execute(
                text(
                    "UPDATE breakers SET probe_token = :token, "
                    "probe_expires_at = clock_timestamp() + :holds "
                    "WHERE account = :account AND open_until <= clock_timestamp() "
                    "AND (probe_expires_at IS NULL OR probe_expires_at <= clock_timestamp())"
                ),
                {"account": account, "token": token, "holds": _PROBE_HOLDS_FOR},
            ).rowcount
            return token if won else None

    def give_back_probe(self, account: str, token: UUID) -> None:
        """The probe found nothing to send, so it proved nothing: another process may probe at once."""
        with self._database.transaction() as connection:
            connection.execute(
                text(
                    "UPDATE breakers SET probe_token = NULL, probe_expires_at = NULL "
                    "WHERE account = :account AND probe_token = :token"
                ),
                {"account": account, "token": token},
            )

    def close(self, account: str) -> str | None:
        """The account takes mail again. Returns the reason that messages were waiting for, if it was open."""
        with self._database.transaction() as connection:
            reason: str | None = connection.execute(
                text("DELETE FROM breakers WHERE account = :account RETURNING reason"),
                {"account": account},
            ).scalar_one_or_none()
            return reason

    def close_all_but(self, accounts: Collection[str]) -> list[str]:
        """Forget the breakers of accounts that are not used any more; returns what messages were waiting for."""
        with self._database.transaction() as connection:
            reasons = connection.execute(
                text("DELETE FROM breakers WHERE account <> ALL(:accounts) RETURNING reason"),
                {"accounts": list(accounts)},
            ).scalars()
            return list(reasons)
