"""A message as mail: compiled once, then rendered for each guest in microseconds, as text and as HTML."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel
from guestguard_dagster.domain.placeholders import require_template, split_template
from guestguard_dagster.domain.plain_text import SUBJECT_LIMIT, clean_text, clean_value
from guestguard_dagster.rendering.facts import EventFacts, guest_values
from guestguard_dagster.rendering.paragraphs import BodyStyle, body_pieces
from guestguard_dagster.rendering.sandbox import Render, compile_html, compile_plain

_PREHEADER_LENGTH = 140
_ACCENT: Final = "#4a3aa8"
_SHELL: Final = "mail.html"
# Where the shell is cut for what differs from guest to guest; no cleaned value can contain these.
_PREHEADER, _BODY, _UNSUBSCRIBE = "\x00preheader\x00", "\x00body\x00", "\x00unsubscribe\x00"
_SLOTS = re.compile(f"{_PREHEADER}|{_BODY}|{_UNSUBSCRIBE}")
# Subject and text are rendered in one go, apart by this: a second rendering would cost as much as the first.
_SUBJECT_END = "\x00"

_BUTTON_LABELS: Mapping[MessageAudience, str] = {
    MessageAudience.PENDING: "RSVP now",
    MessageAudience.ATTENDING: "View or change my RSVP",
}


def rsvp_button_label(audience: MessageAudience) -> str:
    """What the RSVP button says to this audience."""
    return _BUTTON_LABELS.get(audience, "Open my RSVP")


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
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}", self.accent):
            raise BrandingInvalid("the accent colour must be written as #rrggbb")
        if self.logo_url is not None and not re.fullmatch(r"https://[^\s\"'<>]+", self.logo_url):
            raise BrandingInvalid("the logo must be an https:// address")
        if not (self.name.isprintable() and (self.postal_address or "").isprintable()):
            raise BrandingInvalid("name and postal address are one line each")

    @classmethod
    def of(cls, event: Event) -> "Branding":
        """The event's own where it has one, else GuestGuard's. Raises BrandingInvalid."""
        return cls(
            accent=event.accent or _ACCENT, logo_url=event.logo_url, postal_address=event.postal_address or None
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


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.03928 else float(((channel + 0.055) / 1.055) ** 2.4)


@dataclass(frozen=True, slots=True)
class RenderedMail:
    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """One message, ready to be rendered for each of its guests. Build it with `compile`; safe to share by threads."""

    _event_values: dict[str, str]
    _subject_and_text: Render
    _html: Render
    _text_footer: str
    # The shell around the body without and with an unsubscribe link, cut at its slots.
    _plain_shell: tuple[str, ...]
    _unsubscribable_shell: tuple[str, ...]

    @classmethod
    def compile(
        cls,
        subject: str,
        body: str,
        facts: EventFacts,
        *,
        branding: Branding = Branding(),
        button_label: str = "Open my RSVP",
    ) -> "MailTemplate":
        """Raises TemplateRefused for what `check_template` finds."""
        require_template(MessageChannel.EMAIL, subject, body)
        body = clean_text(body).strip("\n")
        return cls(
            _event_values=facts.values(),
            _subject_and_text=compile_plain(
                [*split_template(clean_value(subject, SUBJECT_LIMIT)), _SUBJECT_END, *split_template(body)]
            ),
            _html=compile_html(body_pieces(body, _body_style(branding, button_label))),
            _text_footer=_text_footer(facts, branding),
            _plain_shell=_shell(facts, branding, unsubscribable=False),
            _unsubscribable_shell=_shell(facts, branding, unsubscribable=True),
        )

    def render(self, *, guest_name: str, rsvp_link: str, unsubscribe_url: str | None = None) -> RenderedMail:
        """The mail to one guest. `guest_name` may be anything: it is cleaned, and escaped in HTML."""
        values = {**self._event_values, **guest_values(guest_name, rsvp_link)}
        subject, _, text = self._subject_and_text(values).partition(_SUBJECT_END)
        body = self._html(values)
        preheader = escape(" ".join(text[: 2 * _PREHEADER_LENGTH].split())[:_PREHEADER_LENGTH])
        if unsubscribe_url is None:
            text_end = "\n"
            before, between, after = self._plain_shell
            html = f"{before}{preheader}{between}{body}{after}"
        else:
            text_end = f"\nUnsubscribe: {unsubscribe_url}\n"
            before, between, footer, after = self._unsubscribable_shell
            html = f"{before}{preheader}{between}{body}{footer}{escape(unsubscribe_url)}{after}"
        return RenderedMail(
            subject=clean_value(subject, SUBJECT_LIMIT),
            text=f"{text}{self._text_footer}{text_end}",
            html=html,
        )


def _shell(facts: EventFacts, branding: Branding, *, unsubscribable: bool) -> tuple[str, ...]:
    html = (
        _shells()
        .get_template(_SHELL)
        .render(
            facts=facts,
            branding=branding,
            preheader=_PREHEADER,
            why=why_this_mail(facts),
            body=_BODY,
            unsubscribe_url=_UNSUBSCRIBE if unsubscribable else None,
        )
    )
    return tuple(_SLOTS.split(html))


@cache
def _shells() -> Environment:
    return Environment(
        loader=PackageLoader("guestguard_dagster.rendering"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _body_style(branding: Branding, button_label: str) -> BodyStyle:
    button = _shells().get_template("button.html").render(branding=branding, label=button_label, rsvp_link=_BODY)
    before_link, after_link = button.split(_BODY)
    return BodyStyle(
        paragraph="margin:0 0 18px",
        link=f"color:{branding.link};text-decoration:underline;word-break:break-word",
        button_before_link=before_link,
        button_after_link=after_link,
    )


def _text_footer(facts: EventFacts, branding: Branding) -> str:
    lines = ["", "", "- - -", facts.name, f"When: {facts.time_range}, {facts.zone}"]
    if facts.venue:
        lines.append(f"Where: {facts.venue}")
    lines += ["", why_this_mail(facts)]
    lines.append(f"Sent with {branding.name}" + (f", {branding.postal_address}" if branding.postal_address else ""))
    return "\n".join(lines)


def why_this_mail(facts: EventFacts) -> str:
    """The footer's sentence on why somebody receives this mail."""
    invited_by = f"{facts.host_name} put you" if facts.host_name else "you are"
    return f"You receive this mail because {invited_by} on the guest list of {facts.name}."
