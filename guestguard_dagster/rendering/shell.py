"""The frame around every mail: header with the event's facts, footer, branding; cut once, then filled per recipient."""

import re
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.plain_text import EVENT_NAME_LIMIT, clean_value
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.sandbox import GuestText

_PREHEADER_LENGTH = 140
_ACCENT: Final = "#4a3aa8"
_SHELL: Final = "mail.html"
# the names of what differs from guest to guest in the shell itself
PREHEADER: Final = "preheader"
UNSUBSCRIBE_URL: Final = "unsubscribe_url"
# Where the shell is cut for what differs from guest to guest; no cleaned value can contain these.
_PREHEADER, _BODY, _UNSUBSCRIBE = "\x00preheader\x00", "\x00body\x00", "\x00unsubscribe\x00"
_SLOTS = re.compile(f"{_PREHEADER}|{_BODY}|{_UNSUBSCRIBE}")


LOGO_URL_LIMIT = 500
POSTAL_ADDRESS_LIMIT = 200
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_LOGO_URL = re.compile(r"https://[^\s\"'<>]+")


class BrandingInvalid(ValueError):
    """A branding value cannot be used in a mail; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Branding:
    """How the shell looks. `accent` is `#rrggbb`; `logo_url` is https, shown 32 px high above the card.

    Raises BrandingInvalid.
    """

    name: str = "GuestGuard"
    accent: str = _ACCENT
    logo_url: str | None = None
    postal_address: str | None = None

    def __post_init__(self) -> None:
        if not _COLOUR.fullmatch(self.accent):
            raise BrandingInvalid("the accent colour must be written as #rrggbb")
        if self.logo_url is not None and not is_logo_url(self.logo_url):
            raise BrandingInvalid("the logo must be an https:// address")
        for value, limit in ((self.name, EVENT_NAME_LIMIT), (self.postal_address or "", POSTAL_ADDRESS_LIMIT)):
            if clean_value(value, limit) != value:
                raise BrandingInvalid("name and postal address are one line each")

    @classmethod
    def of(cls, event: Event) -> "Branding":
        """The event's own where it has one that can be used, else GuestGuard's. Whatever is stored, a mail is made."""
        accent, logo_url = event.accent or "", event.logo_url or ""
        return cls(
            accent=accent if _COLOUR.fullmatch(accent) else _ACCENT,
            logo_url=logo_url if is_logo_url(logo_url) else None,
            postal_address=clean_value(event.postal_address or "", POSTAL_ADDRESS_LIMIT) or None,
        )

    @property
    def ink(self) -> str:
        """White or black, whichever reads better on the accent colour: the contrast is 4.5 or more (WCAG AA)."""
        return "#ffffff" if self._is_dark else "#000000"

    @property
    def link(self) -> str:
        """The accent colour where it can be read on white, else the colour of the text."""
        return self.accent if self._is_dark else "#29253a"

    @property
    def _is_dark(self) -> bool:
        # Relative luminance as WCAG defines it: below 0.179 white has the better contrast.
        red, green, blue = (_linear(int(self.accent[start : start + 2], 16) / 255) for start in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179


def is_logo_url(url: str) -> bool:
    """Whether a mail can show the picture at this address: https, without spaces, quotes and control characters."""
    return len(url) <= LOGO_URL_LIMIT and _LOGO_URL.fullmatch(url) is not None and url.isprintable()


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.03928 else float(((channel + 0.055) / 1.055) ** 2.4)


OUR_BRANDING: Final = Branding()


@dataclass(frozen=True, slots=True)
class Shell:
    """Header and footer of one kind of mail about one event. Build it with `compile`; safe to share by threads."""

    _text_footer: str
    # The shell around the body without and with an unsubscribe link, cut at its slots.
    _plain: tuple[str, ...]
    _unsubscribable: tuple[str, ...]

    @classmethod
    def compile(cls, facts: EventFacts, branding: Branding, *, why: str, eyebrow: str | None = None) -> "Shell":
        """`why` is the footer's sentence on why somebody gets this mail; `eyebrow` stands above the event's name."""

        def cut(*, unsubscribable: bool) -> tuple[str, ...]:
            html = render_template(
                _SHELL,
                facts=facts,
                branding=branding,
                eyebrow=eyebrow,
                preheader=_PREHEADER,
                why=why,
                body=_BODY,
                unsubscribe_url=_UNSUBSCRIBE if unsubscribable else None,
            )
            return tuple(_SLOTS.split(html))

        return cls(_text_footer(facts, branding, why), cut(unsubscribable=False), cut(unsubscribable=True))

    def around(self, body: GuestText, *, unsubscribable: bool) -> GuestText:
        """The whole HTML of a message, open where guests differ: in `body`, and at PREHEADER and UNSUBSCRIBE_URL."""
        before, between, *footer = self._unsubscribable if unsubscribable else self._plain
        first, *inner = body.literals
        literals, names = [before, between + first, *inner], [PREHEADER, *body.names]
        literals[-1] += footer[0]
        if unsubscribable:
            literals.append(footer[1])
            names.append(UNSUBSCRIBE_URL)
        return GuestText(tuple(literals), tuple(names), body.written)

    def html(self, body: str, *, text: str, unsubscribe_url: str | None) -> str:
        """`body` is HTML already; the start of `text` is what a list of mails shows beside the subject."""
        preheader = escape(preheader_of(text))
        if unsubscribe_url is None:
            before, between, after = self._plain
            return f"{before}{preheader}{between}{body}{after}"
        before, between, footer, after = self._unsubscribable
        return f"{before}{preheader}{between}{body}{footer}{escape(unsubscribe_url)}{after}"

    def text(self, text: str, *, unsubscribe_url: str | None) -> str:
        """`text` with the footer below it."""
        end = "\n" if unsubscribe_url is None else f"\nUnsubscribe: {unsubscribe_url}\n"
        return f"{text}{self._text_footer}{end}"


def preheader_of(text: str) -> str:
    """The start of a mail's text, as a list of mails shows it beside the subject."""
    return " ".join(text[: 2 * _PREHEADER_LENGTH].split())[:_PREHEADER_LENGTH]


def render_template(name: str, **values: object) -> str:
    """One of our own templates; values are escaped in the HTML ones."""
    return _templates().get_template(name).render(values)


def render_block(name: str, block: str, **values: object) -> str:
    """One block of a template that holds several, such as a mail's text and HTML."""
    template = _templates().get_template(name)
    return "".join(template.blocks[block](template.new_context(values)))


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("guestguard_dagster.rendering"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _text_footer(facts: EventFacts, branding: Branding, why: str) -> str:
    lines = ["", "", "- - -", facts.name]
    if facts.time_range:
        lines.append(f"When: {facts.time_range}, {facts.zone}")
    if facts.venue:
        lines.append(f"Where: {facts.venue}")
    lines += ["", why]
    lines.append(f"Sent with {branding.name}" + (f", {branding.postal_address}" if branding.postal_address else ""))
    return "\n".join(lines)


def on_the_guest_list(facts: EventFacts) -> str:
    """Why a guest receives a mail about an event."""
    invited_by = f"{facts.host_name} put you" if facts.host_name else "you are"
    return f"You receive this mail because {invited_by} on the guest list of {facts.name}."
