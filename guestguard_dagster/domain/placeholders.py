"""The placeholders that a host may write into a message, and the check that refuses everything else.

A message is plain text with placeholders such as `{{guest_name}}`. What looks like any other template syntax is refused
when the message is saved, with line and reason. Rendering itself lives in the `rendering`.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Literal, TypeAlias

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.plain_text import clean_text

LONGEST_SUBJECT = 200
LONGEST_EMAIL_BODY = 20_000
LONGEST_SMS_BODY = 1_200


class Placeholder(StrEnum):
    GUEST_NAME = "guest_name"
    EVENT_NAME = "event_name"
    EVENT_DATE = "event_date"
    VENUE = "venue"
    RSVP_LINK = "rsvp_link"

    @property
    def written(self) -> str:
        """As it stands in a message: `{{guest_name}}`."""
        return f"{{{{{self.value}}}}}"


TemplateField: TypeAlias = Literal["subject", "body"]


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """Why a template is refused. `line` counts from 1; `reason` is a sentence for the host."""

    field: TemplateField
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.field}, line {self.line}: {self.reason}"


class TemplateRefused(ValueError):
    """A subject or body cannot be used as it is. `problems` says where and why, in the order of the text."""

    def __init__(self, problems: Iterable[TemplateProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


def check_template(channel: MessageChannel, subject: str, body: str) -> list[TemplateProblem]:
    """Everything that keeps this message from being saved; an empty list means that it renders for every guest.

    An SMS has no subject, so its subject is not looked at.
    """
    is_email = channel is MessageChannel.EMAIL
    problems = _check_subject(subject) if is_email else []
    return problems + _check_text("body", body, LONGEST_EMAIL_BODY if is_email else LONGEST_SMS_BODY)


def require_template(channel: MessageChannel, subject: str, body: str) -> None:
    """Raises TemplateRefused with everything that `check_template` finds."""
    if problems := check_template(channel, subject, body):
        raise TemplateRefused(problems)


def split_template(text: str) -> list[str | Placeholder]:
    """A checked and cleaned text as literal pieces and placeholders, in order."""
    return [piece for piece in _scan(text) if not isinstance(piece, _Refused)]


def _check_subject(subject: str) -> list[TemplateProblem]:
    problems = _check_text("subject", subject, LONGEST_SUBJECT)
    if "\n" in subject or "\r" in subject:
        problems.insert(0, TemplateProblem("subject", 1, "a subject is one line; remove the line breaks"))
    return problems


def _check_text(field: TemplateField, text: str, limit: int) -> list[TemplateProblem]:
    if not text.strip():
        return [TemplateProblem(field, 1, f"the {field} is empty")]
    if len(text) > limit:
        reason = f"the {field} has {len(text):,} characters, {limit:,} are allowed"
        return [TemplateProblem(field, 1, reason)]
    if _UNSTORABLE.search(text):
        return [TemplateProblem(field, 1, f"the {field} has characters that are no text; type it anew")]
    # Cleaned first, as rendering does: an invisible character between two braces must not hide them from this check.
    text = clean_text(text)
    refused = (piece for piece in _scan(text) if isinstance(piece, _Refused))
    return [
        TemplateProblem(field, text.count("\n", 0, piece.position) + 1, piece.reason)
        for piece in islice(refused, _MOST_PROBLEMS)
    ]


_MOST_PROBLEMS = 20
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SYNTAX = re.compile(r"\{{2,}|\}{2,}|\{%|\{#")
_REST_OF_BRACED = re.compile(r"([^{}\r\n]*)\}\}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_BY_NAME = {placeholder.value: placeholder for placeholder in Placeholder}
_ALLOWED = ", ".join(name.written for name in Placeholder)


@dataclass(frozen=True, slots=True)
class _Refused:
    position: int
    reason: str


def _scan(text: str) -> list[str | Placeholder | _Refused]:
    """Literals, placeholders, and refusals (each followed by the refused text as a literal)."""
    pieces: list[str | Placeholder | _Refused] = []
    literal_from = position = 0
    while found := _SYNTAX.search(text, position):
        rest = _REST_OF_BRACED.match(text, found.end()) if found[0].startswith("{{") else None
        position = rest.end() if rest else found.end()
        if rest and found[0] == "{{" and (placeholder := _BY_NAME.get(rest[1].strip())):
            if literal_from < found.start():
                pieces.append(text[literal_from : found.start()])
            pieces.append(placeholder)
            literal_from = position
        else:
            pieces.append(_Refused(found.start(), _why_refused(found[0], rest)))
    if literal_from < len(text):
        pieces.append(text[literal_from:])
    return pieces


def _why_refused(opening: str, rest: re.Match[str] | None) -> str:
    if opening == "{%":
        return "template logic ({% … %}) is not available; write plain text with placeholders"
    if opening == "{#":
        return "template comments ({# … #}) are not available; put a space between the two characters"
    if opening.startswith("}"):
        return "}} without its {{ before it"
    if rest is None:
        return "{{ without its }} on the same line"
    if opening != "{{":
        return "more than two opening braces; a placeholder has exactly two"
    return _why_no_placeholder(rest[1].strip())


def _why_no_placeholder(inside: str) -> str:
    if _IDENTIFIER.fullmatch(inside):
        close = difflib.get_close_matches(inside.lower(), [name.value for name in Placeholder], n=1)
        hint = f"did you mean {{{{{close[0]}}}}}?" if close else f"there are {_ALLOWED}"
        return f"unknown placeholder {{{{{inside}}}}}; {hint}"
    for characters, kind in _KINDS:
        if any(character in inside for character in characters):
            return f"{kind} are not available inside {{{{ }}}}; only the name of a placeholder is: {_ALLOWED}"
    return f"only the name of a placeholder may stand inside {{{{ }}}}: {_ALLOWED}"


_KINDS = (
    ("|", "filters"),
    ("(", "calls"),
    ("\"'0123456789", "literal values"),
    (".[", "attributes"),
    ("+-*/~%=<>:,", "calculations"),
)
