"""Keyset paging: a page starts behind the last row of the one before, however many rows lie between or come and go."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, tuple_


def page_behind(
    query: Select[Any],
    place: Sequence[ColumnElement[Any]],
    *,
    after: UUID | None,
    limit: int,
    latest_first: bool = False,
) -> Select[Any]:
    """The next `limit` rows of `query` behind the row with the id `after`. They are ordered by `place`, the id last."""
    if after is not None:
        here, last = tuple_(*place), select(*place).where(place[-1] == after).scalar_subquery()
        query = query.where(here < last if latest_first else here > last)
    return query.order_by(*(column.desc() for column in place) if latest_first else place).limit(limit)
