"""Keyset paging: a page starts behind the last row of the one before, however many rows lie between or come and go."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, tuple_


def page_behind(
    query: Select[Any], place: Sequence[ColumnElement[Any]], *, after: UUID | None, limit: int
) -> Select[Any]:
    """The next `limit` rows of `query` behind the row with the id `after`. They are ordered by `place`, the id last."""
    if after is not None:
        query = query.where(tuple_(*place) > select(*place).where(place[-1] == after).scalar_subquery())
    return query.order_by(*place).limit(limit)
