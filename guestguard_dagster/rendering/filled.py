"""A text that is the same for all guests of a message but for some values: what is the same is encoded only once."""

from collections.abc import Sequence
from typing import TypeVar

Text = TypeVar("Text", str, bytes)


class Filled(str):
    """The whole text, and what it was put together from: `literals`, one more than `values`, which stand between them.

    The mails of a message share one tuple of literals.
    """

    __slots__ = ("literals", "values")

    literals: tuple[str, ...]
    values: tuple[str, ...]

    @classmethod
    def of(cls, literals: tuple[str, ...], values: tuple[str, ...]) -> "Filled":
        filled = cls("".join(interleaved(literals, values)))
        filled.literals, filled.values = literals, values
        return filled


def interleaved(literals: Sequence[Text], values: Sequence[Text]) -> list[Text]:
    """The first literal, the first value, and so on to the last literal."""
    whole = list(literals) + list(values)
    whole[::2], whole[1::2] = literals, values
    return whole
