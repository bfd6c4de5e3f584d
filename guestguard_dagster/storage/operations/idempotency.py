"""Answers that are kept under the caller's Idempotency-Key, so that a repeated request is answered and not repeated."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from guestguard_dagster.storage.database import Database, sql

KEPT_FOR = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """`status` and `body` are None while the first request with this key has not been answered."""

    request_digest: bytes
    status: int | None
    body: bytes | None
    media_type: str | None


class IdempotencyRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, user_id: UUID, key: str, request_digest: bytes) -> KeptAnswer | None:
        """Be the first with this key (None), or learn what became of the first. Of many at once, one is the first."""
        with self._database.transaction() as connection:
            claimed = connection.execute(
                sql(
                    "INSERT INTO idempotency_keys AS k (user_id, key, request_digest) "
                    "VALUES (:user_id, :key, :digest) ON CONFLICT (user_id, key) DO UPDATE "
                    "SET request_digest = :digest, created_at = clock_timestamp(), status = NULL, body = NULL, "
                    "media_type = NULL WHERE k.created_at < clock_timestamp() - CAST(:kept AS interval)"
                ),
                {"user_id": user_id, "key": key, "digest": request_digest, "kept": KEPT_FOR},
            ).rowcount
            if claimed:
                return None
            row = connection.execute(
                sql(
                    "SELECT request_digest, status, body, media_type FROM idempotency_keys "
                    "WHERE user_id = :user_id AND key = :key"
                ),
                {"user_id": user_id, "key": key},
            ).one()
            return KeptAnswer(*row)

    def keep(self, user_id: UUID, key: str, *, status: int, body: bytes, media_type: str | None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    "UPDATE idempotency_keys SET status = :status, body = :body, media_type = :media_type "
                    "WHERE user_id = :user_id AND key = :key"
                ),
                {"user_id": user_id, "key": key, "status": status, "body": body, "media_type": media_type},
            )

    def release(self, user_id: UUID, key: str) -> None:
        """The first request changed nothing: the key may be used again."""
        with self._database.transaction() as connection:
            connection.execute(
                sql("DELETE FROM idempotency_keys WHERE user_id = :user_id AND key = :key AND status IS NULL"),
                {"user_id": user_id, "key": key},
            )

    def forget_old(self) -> int:
        """Delete what is kept no longer; returns how many."""
        with self._database.transaction() as connection:
            return connection.execute(
                sql("DELETE FROM idempotency_keys WHERE created_at < clock_timestamp() - CAST(:kept AS interval)"),
                {"kept": KEPT_FOR},
            ).rowcount
