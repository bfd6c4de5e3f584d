"""Email addresses take their canonical form: of guests and users, and the keys by which suppressions hold.
And answers that were stamped in the future count as given now, so that later ones can replace them"""

from collections.abc import Iterator
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from guestguard_dagster.domain.addresses import email_as_kept, email_key

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_CHUNK = 5_000
# Addresses of this kind are canonical already, and they are nearly all.
_PLAIN_LOCAL_PART = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
_PLAIN = f"^{_PLAIN_LOCAL_PART}@[a-z0-9.-]+$"
_PLAIN_KEY = f"^{_PLAIN_LOCAL_PART.replace('A-Z', '')}@[a-z0-9.-]+$"


def upgrade() -> None:
    connection = op.get_bind()
    _rewrite_guests(connection)
    _rewrite_users(connection)
    _rewrite_suppressions(connection)
    op.execute(
        "UPDATE guestguard_messaging.guests SET responded_at = clock_timestamp() WHERE responded_at > clock_timestamp()"
    )


def downgrade() -> None:
    """Earlier versions read canonical addresses as well."""


def _rewrite_guests(connection: sa.Connection) -> None:
    for chunk in _chunks(
        connection, "SELECT id, email AS address FROM guestguard_messaging.guests WHERE email !~ :plain", _PLAIN
    ):
        changed = {row.id: kept for row in chunk if (kept := email_as_kept(row.address)) != row.address}
        connection.execute(
            sa.text(
                "UPDATE guestguard_messaging.guests g SET email = c.email "
                "FROM unnest(CAST(:ids AS uuid[]), CAST(:emails AS text[])) AS c (id, email) WHERE g.id = c.id"
            ),
            {"ids": list(changed), "emails": list(changed.values())},
        )


def _rewrite_users(connection: sa.Connection) -> None:
    """Of two users with one address, the one who has it in its canonical form, or the first, is found by it from now
    on; the other's spelling stays, and so does everything that is theirs."""
    rename = sa.text(
        "UPDATE guestguard_messaging.users SET email = :email WHERE id = :id AND NOT EXISTS "
        "(SELECT 1 FROM guestguard_messaging.users other WHERE lower(other.email) = lower(:email) AND other.id <> :id)"
    )
    odd = "SELECT id, email AS address, created_at FROM guestguard_messaging.users WHERE email !~ :plain"
    for row in sorted(
        (row for chunk in _chunks(connection, odd, _PLAIN) for row in chunk), key=lambda row: (row.created_at, row.id)
    ):
        if (kept := email_as_kept(row.address)) and kept != row.address:
            connection.execute(rename, {"id": row.id, "email": kept})


def _rewrite_suppressions(connection: sa.Connection) -> None:
    """Where two become one, the first goes on to hold; the other stays on record as lifted."""
    odd = "SELECT id, address FROM guestguard_messaging.suppressions WHERE channel = 'email' AND address !~ :plain"
    for chunk in _chunks(connection, odd, _PLAIN_KEY):
        for row in chunk:
            if (key := email_key(row.address)) != row.address:
                connection.execute(_LIFT_THE_LATER, {"id": row.id, "key": key})
                connection.execute(_SET_KEY, {"id": row.id, "key": key})


_LIFT_THE_LATER = sa.text(
    """
    UPDATE guestguard_messaging.suppressions SET lifted_at = clock_timestamp()
    WHERE id = (
        SELECT CASE WHEN (other.created_at, other.id) < (mine.created_at, mine.id) THEN mine.id ELSE other.id END
        FROM guestguard_messaging.suppressions mine
        JOIN guestguard_messaging.suppressions other ON other.channel = mine.channel AND other.scope = mine.scope
            AND other.address = :key AND other.id <> mine.id AND other.lifted_at IS NULL
        WHERE mine.id = :id AND mine.lifted_at IS NULL
    )
    """
)
_SET_KEY = sa.text("UPDATE guestguard_messaging.suppressions SET address = :key WHERE id = :id")


def _chunks(connection: sa.Connection, query: str, plain: str) -> Iterator[list[sa.Row[tuple[UUID, str]]]]:
    """The rows of `query` in the order of their ids, so many at a time."""
    page = sa.text(f"{query} AND id > :after ORDER BY id LIMIT :size")
    after = UUID(int=0)
    while chunk := list(connection.execute(page, {"plain": plain, "after": after, "size": _CHUNK})):
        yield chunk
        after = chunk[-1].id
