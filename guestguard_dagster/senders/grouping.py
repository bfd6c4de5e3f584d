"""Cutting what is to be sent into groups that one hand-off may carry."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def groups_of(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive groups of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
