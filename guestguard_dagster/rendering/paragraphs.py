"""A host's plain text as the HTML between header and footer: paragraphs, line breaks, links, the RSVP button.

Works on the template, once per message. Only what the host typed can become a link; a guest's value never does, except
the guest's own RSVP link.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby

from guestguard_dagster.domain.placeholders import Placeholder, split_template

Piece = str | Placeholder
Line = list[Piece]

_LINK = re.compile(r"\b(?:https?://|www\.)[^\s<>\"]+", re.IGNORECASE)
_TRAILING_PUNCTUATION = ".,;:!?'’”»*_"
_BRACKETS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class BodyStyle:
    """The inline styles of what a body is made of. The button's frame is HTML around label and link."""

    paragraph: str
    link: str
    button_before_link: str
    button_after_link: str


def body_pieces(text: str, style: BodyStyle) -> list[Piece]:
    """HTML literals and placeholders of a checked body, for the sandbox to render with escaped values."""
    pieces: list[Piece] = []
    for kind, lines in groupby(_lines(text), _kind):
        if kind == "text":
            pieces += _paragraph(list(lines), style)
        elif kind == "button":
            for _ in lines:
                pieces += [style.button_before_link, Placeholder.RSVP_LINK, style.button_after_link]
    return pieces


def _lines(text: str) -> Iterator[Line]:
    line: Line = []
    for piece in split_template(text):
        if isinstance(piece, Placeholder):
            line.append(piece)
            continue
        first, *following = piece.split("\n")
        line.append(first)
        for start in following:
            yield line
            line = [start]
    yield line


def _kind(line: Line) -> str:
    visible = [piece for piece in line if isinstance(piece, Placeholder) or piece.strip()]
    if not visible:
        return "blank"
    return "button" if visible == [Placeholder.RSVP_LINK] else "text"


def _paragraph(lines: list[Line], style: BodyStyle) -> list[Piece]:
    pieces: list[Piece] = [f'<p style="{style.paragraph}">']
    for number, line in enumerate(lines):
        if number:
            pieces.append("<br>\n")
        for position, piece in enumerate(line):
            if piece is Placeholder.RSVP_LINK:
                pieces += ['<a href="', piece, f'" class="link" style="{style.link}">', piece, "</a>"]
            elif isinstance(piece, Placeholder):
                pieces.append(piece)
            else:
                touches_value = position > 0, position + 1 < len(line)
                pieces.append(_with_links(piece, touches_value, style))
    return [*pieces, "</p>\n"]


def _with_links(literal: str, touches_value: tuple[bool, bool], style: BodyStyle) -> str:
    """Escaped, with its addresses as links, but for those that go on in a value: `https://example.com/{{guest_name}}`."""
    value_before, value_after = touches_value
    html: list[str] = []
    position = 0
    for found in _LINK.finditer(literal):
        address = _without_trailing_punctuation(found[0])
        start, end = found.start(), found.start() + len(address)
        if (value_before and start == 0) or (value_after and end == len(literal)):
            continue
        href = address if "://" in address else f"https://{address}"
        html += [
            escape(literal[position:start]),
            f'<a href="{escape(href)}" class="link" style="{style.link}">{escape(address)}</a>',
        ]
        position = end
    return "".join([*html, escape(literal[position:])])


def _without_trailing_punctuation(address: str) -> str:
    while address:
        last = address[-1]
        opened = _BRACKETS.get(last)
        if last in _TRAILING_PUNCTUATION or (opened and address.count(last) > address.count(opened)):
            address = address[:-1]
        else:
            break
    return address
