"""The one sanitiser of what people typed: names, titles, venues, subjects, bodies.

It makes text harmless in any place, a header included, without escaping it: escaping belongs to HTML alone.
"""

import unicodedata

GUEST_NAME_LIMIT = 80
EVENT_NAME_LIMIT = 120
VENUE_LIMIT = 200
SUBJECT_LIMIT = 250

# Format characters that spell names and emoji (Persian, Indic scripts, families): every other one is dropped.
_ZERO_WIDTH_NON_JOINER, _ZERO_WIDTH_JOINER = "\u200c", "\u200d"
_JOINERS = _ZERO_WIDTH_NON_JOINER + _ZERO_WIDTH_JOINER
_DROPPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs"})


def clean_value(value: str, limit: int) -> str:
    """`value` as one line of at most `limit` characters, without control, bidi or surrogate characters.

    Runs of whitespace, line breaks among them, become one space. What is too long ends in an ellipsis.
    """
    if len(value) <= limit and value.isprintable() and "  " not in value and value == value.strip():
        return value
    one_line = " ".join("".join(map(_harmless, value)).split())
    if len(one_line) <= limit:
        return one_line
    return one_line[: limit - 1].rstrip(f" {_JOINERS}") + "…"


def clean_text(text: str) -> str:
    r"""Text of many lines without control, bidi or surrogate characters; every line ends in `\n`, tabs are spaces."""
    return "\n".join("".join(map(_harmless, line)) for line in text.splitlines())


def _harmless(character: str) -> str:
    if character.isspace():
        return " "
    if character in _JOINERS or unicodedata.category(character) not in _DROPPED_CATEGORIES:
        return character
    return ""
