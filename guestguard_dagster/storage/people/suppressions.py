"""Suppressions: addresses that are not to be written to."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Text, bindparam, column, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from guestguard_dagster.domain.addresses import email_key
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.domain.suppressions import EVERY_HOST, Suppression
from guestguard_dagster.storage.conditions import is_active_suppression
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.paging import page_behind
from guestguard_dagster.storage.rows import SUPPRESSION_COLUMNS, suppression_from
from guestguard_dagster.storage.tables.people import suppressions


class NotAPhoneNumber(ValueError):
    """The address of an SMS suppression cannot be read as an international phone number. It is not repeated here."""


class SuppressionRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, channel: MessageChannel, address: str, *, scope: str = EVERY_HOST, reason: str, source: str
    ) -> Suppression:
        """Suppress an address within a scope (see domain.suppressions). The first reason stays when it is repeated.

        Raises NotAPhoneNumber for an SMS address that is not an international number.
        """
        new = insert(suppressions).values(
            channel=channel,
            address=_key(channel, address),
            scope=scope,
            reason=reason,
            source=source,
        )
        new_or_known = new.on_conflict_do_update(
            index_elements=["channel", "address", "scope"],
            index_where=suppressions.c.lifted_at.is_(None),
            set_={"reason": suppressions.c.reason},
        )
        with self._database.transaction() as connection:
            return suppression_from(connection.execute(new_or_known.returning(*SUPPRESSION_COLUMNS)).one())

    def lift(self, channel: MessageChannel, address: str, *, scope: str = EVERY_HOST) -> bool:
        """Let the address be written to again, as far as this scope goes; False when it was not suppressed."""
        statement = (
            update(suppressions)
            .where(is_active_suppression(channel, literal(_key(channel, address))), suppressions.c.scope == scope)
            .values(lifted_at=func.clock_timestamp())
        )
        with self._database.transaction() as connection:
            return connection.execute(statement).rowcount > 0

    def is_suppressed(self, channel: MessageChannel, address: str, *, scopes: Collection[str] = ()) -> bool:
        """Whether the address is suppressed for every host, or within one of `scopes`."""
        return bool(self.suppressed_among(channel, [address], scopes=scopes))

    def suppressed_among(
        self, channel: MessageChannel, addresses: Collection[str], *, scopes: Collection[str] = ()
    ) -> frozenset[str]:
        """Those of `addresses`, as they are written there, that are suppressed for every host or within `scopes`."""
        reach = {EVERY_HOST, *scopes}
        return frozenset(address for address, held in self.scopes_among(channel, addresses).items() if held & reach)

    def scopes_among(self, channel: MessageChannel, addresses: Collection[str]) -> dict[str, frozenset[str]]:
        """The scopes within which each of `addresses`, as it is written there, is suppressed; free ones are missing."""
        keys = {address: email_key(address) if channel is MessageChannel.EMAIL else address for address in addresses}
        with self._database.transaction() as connection:
            rows = connection.execute(_SCOPES, {"channel": channel, "keys": list(set(keys.values()))})
            held = {key: frozenset(scopes) for key, scopes in rows}
        return {address: held[key] for address, key in keys.items() if key in held}

    def list_active(
        self,
        *,
        channel: MessageChannel | None = None,
        scope: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[Suppression]:
        """The next `limit` suppressions behind the suppression `after`, by the time they were added."""
        query = select(*SUPPRESSION_COLUMNS).where(suppressions.c.lifted_at.is_(None))
        if channel is not None:
            query = query.where(suppressions.c.channel == channel)
        if scope is not None:
            query = query.where(suppressions.c.scope == scope)
        place = (suppressions.c.created_at, suppressions.c.id)
        with self._database.transaction() as connection:
            rows = connection.execute(page_behind(query, place, after=after, limit=limit))
            return [suppression_from(row) for row in rows]


_given = func.unnest(bindparam("keys", type_=ARRAY(Text))).table_valued(column("key", Text)).render_derived()

# Built once: every batch asks for it, and building it costs more than running it.
_SCOPES = (
    select(_given.c.key, func.array_agg(suppressions.c.scope))
    .join_from(_given, suppressions, is_active_suppression(bindparam("channel", type_=Text), _given.c.key))
    .group_by(_given.c.key)
)


def _key(channel: MessageChannel, address: str) -> str:
    if channel is MessageChannel.EMAIL:
        return email_key(address)
    number = to_e164(address, None)
    if number is None:
        raise NotAPhoneNumber("an SMS suppression needs an international phone number, such as +49 171 1234567")
    return number
