"""A message as SMS: compiled once, rendered for each guest, and counted in the segments that carriers bill."""

from dataclasses import dataclass
from typing import Literal

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.placeholders import (
    TemplateProblem,
    TemplateRefused,
    require_template,
    split_template,
)
from guestguard_dagster.domain.plain_text import clean_text
from guestguard_dagster.rendering.facts import EventFacts, guest_values
from guestguard_dagster.rendering.sandbox import GuestText, compile_plain

MOST_SEGMENTS = 10

# GSM 03.38 default alphabet, without the escape that leads into the extension table.
_GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENDED = frozenset("\f^{}\\[~]|€")

# Characters that a word processor puts in: each would more than halve what fits into a segment.
_PLAIN_TYPOGRAPHY = str.maketrans(
    {"’": "'", "‘": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "…": "...", "•": "-", "·": "-"}
)


@dataclass(frozen=True, slots=True)
class SegmentCount:
    """`units` are septets of GSM-7 or UTF-16 code units of UCS-2."""

    encoding: Literal["GSM-7", "UCS-2"]
    units: int
    segments: int


def sms_segments(text: str) -> SegmentCount:
    """How a carrier sends this text. An escaped character or surrogate pair is never split between two segments."""
    if all(character in _GSM_BASIC or character in _GSM_EXTENDED for character in text):
        sizes = [2 if character in _GSM_EXTENDED else 1 for character in text]
        return SegmentCount("GSM-7", sum(sizes), _segments(sizes, alone=160, joined=153))
    sizes = [2 if ord(character) > 0xFFFF else 1 for character in text]
    return SegmentCount("UCS-2", sum(sizes), _segments(sizes, alone=70, joined=67))


def _segments(sizes: list[int], *, alone: int, joined: int) -> int:
    if sum(sizes) <= alone:
        return 1
    segments, free = 1, joined
    for size in sizes:
        if size > free:
            segments, free = segments + 1, joined
        free -= size
    return segments


class TextTooLong(ValueError):
    """A rendered SMS would need more segments than are sent."""


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """One SMS message, ready to be rendered for each of its guests. Build it with `compile`."""

    _body: GuestText

    @classmethod
    def compile(cls, body: str, facts: EventFacts) -> "TextTemplate":
        """Raises TemplateRefused for what `check_template` finds, and for a body too long for any guest."""
        require_template(MessageChannel.SMS, "", body)
        template = cls(compile_plain(split_template(clean_text(body).strip()), facts.values()))
        try:
            template.render(guest_name="x", rsvp_link="x")
        except TextTooLong as error:
            raise TemplateRefused([TemplateProblem("body", 1, str(error))]) from None
        return template

    def render(self, *, guest_name: str, rsvp_link: str) -> str:
        """The SMS to one guest, with plain quotes and dashes. Raises TextTooLong beyond `MOST_SEGMENTS`."""
        text = self._body.fill(guest_values(guest_name, rsvp_link)).translate(_PLAIN_TYPOGRAPHY)
        count = sms_segments(text)
        if count.segments > MOST_SEGMENTS:
            raise TextTooLong(
                f"the SMS needs {count.segments} segments of {count.encoding}, {MOST_SEGMENTS} are allowed"
            )
        return text
