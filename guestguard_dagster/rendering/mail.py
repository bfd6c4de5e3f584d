"""A message as mail: compiled once, then rendered for each guest in microseconds, as text and as HTML."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guestguard_dagster.domain.messages import MessageAudience, MessageChannel
from guestguard_dagster.domain.placeholders import require_template, split_template
from guestguard_dagster.domain.plain_text import SUBJECT_LIMIT, clean_text, clean_value
from guestguard_dagster.rendering.facts import EventFacts, guest_values
from guestguard_dagster.rendering.paragraphs import BodyStyle, body_pieces
from guestguard_dagster.rendering.sandbox import GuestText, compile_html, compile_plain
from guestguard_dagster.rendering.shell import (
    OUR_BRANDING,
    PREHEADER,
    UNSUBSCRIBE_URL,
    Branding,
    Shell,
    on_the_guest_list,
    preheader_of,
    render_template,
)

# Where the button's link goes; no cleaned value can contain it.
_LINK: Final = "\x00link\x00"

_BUTTON_LABELS: Mapping[MessageAudience, str] = {
    MessageAudience.PENDING: "RSVP now",
    MessageAudience.ATTENDING: "View or change my RSVP",
}


def rsvp_button_label(audience: MessageAudience) -> str:
    """What the RSVP button says to this audience."""
    return _BUTTON_LABELS.get(audience, "Open my RSVP")


@dataclass(frozen=True, slots=True)
class RenderedMail:
    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """One message, ready to be rendered for each of its guests. Build it with `compile`; safe to share by threads."""

    _subject: GuestText
    _text: GuestText
    # without and with an unsubscribe link
    _html: GuestText
    _unsubscribable_html: GuestText
    _shell: Shell

    @classmethod
    def compile(
        cls,
        subject: str,
        body: str,
        facts: EventFacts,
        *,
        branding: Branding = OUR_BRANDING,
        button_label: str = "Open my RSVP",
    ) -> "MailTemplate":
        """Raises TemplateRefused for what `check_template` finds."""
        require_template(MessageChannel.EMAIL, subject, body)
        body = clean_text(body).strip("\n")
        values = facts.values()
        shell = Shell.compile(facts, branding, why=on_the_guest_list(facts))
        html = compile_html(body_pieces(body, _body_style(branding, button_label)), values)
        return cls(
            _subject=compile_plain(split_template(clean_value(subject, SUBJECT_LIMIT)), values),
            _text=compile_plain(split_template(body), values),
            _html=shell.around(html, unsubscribable=False),
            _unsubscribable_html=shell.around(html, unsubscribable=True),
            _shell=shell,
        )

    def render(self, *, guest_name: str, rsvp_link: str, unsubscribe_url: str | None = None) -> RenderedMail:
        """The mail to one guest. `guest_name` may be anything: it is cleaned, and escaped in HTML."""
        values = guest_values(guest_name, rsvp_link)
        text = self._text.fill(values)
        subject = clean_value(self._subject.fill(values), SUBJECT_LIMIT)
        values[PREHEADER] = preheader_of(text)
        if unsubscribe_url is None:
            html = self._html.fill(values)
        else:
            html = self._unsubscribable_html.fill(values | {UNSUBSCRIBE_URL: unsubscribe_url})
        return RenderedMail(subject, self._shell.text(text, unsubscribe_url=unsubscribe_url), html)


def _body_style(branding: Branding, button_label: str) -> BodyStyle:
    button = render_template("button.html", branding=branding, label=button_label, rsvp_link=_LINK)
    before_link, after_link = button.split(_LINK)
    return BodyStyle(
        paragraph="margin:0 0 18px",
        link=f"color:{branding.link};text-decoration:underline;word-break:break-word",
        button_before_link=before_link,
        button_after_link=after_link,
    )
