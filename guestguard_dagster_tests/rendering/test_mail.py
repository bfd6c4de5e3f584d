from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guestguard_dagster.domain.messages import MessageAudience
from guestguard_dagster.domain.placeholders import Placeholder, TemplateRefused
from guestguard_dagster.domain.plain_text import EVENT_NAME_LIMIT, GUEST_NAME_LIMIT, SUBJECT_LIMIT, clean_value
from guestguard_dagster.domain.reminders import REMINDER_RULES, ReminderRule
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.mail import MailTemplate, RenderedMail, rsvp_button_label
from guestguard_dagster.rendering.shell import Branding, BrandingInvalid
from guestguard_dagster_tests.domain.drafts import an_event
from guestguard_dagster_tests.rendering.reading import ReadHtml

START = datetime(2026, 12, 5, 17, 30, tzinfo=UTC)
EVENT = an_event(START, "Europe/Berlin", ends_at=START + timedelta(hours=4))
LINK = "https://example.com/rsvp/Ab-9_x?a=1&b=2"
UNSUBSCRIBE = "https://example.com/u/abc"
EVERYTHING = " ".join(placeholder.written for placeholder in Placeholder)

ANY_TEXT = st.text(alphabet=st.characters(), max_size=200)
HOSTILE = st.lists(
    st.sampled_from(
        [
            "<b>",
            "</p>",
            "<script>",
            "&amp;",
            '"',
            "'",
            "{{",
            "}}",
            "{%",
            "{{7*7}}",
            "\r\n",
            "\u202e",
            "\x00",
            "https://x.io",
        ]
    )
    | st.text(max_size=5)
).map("".join)


def rendered(body: str, subject: str = "Hello", *, guest_name: str = "Ann", **event_fields: Any) -> RenderedMail:
    facts = EventFacts.of(replace(EVENT, **event_fields), host_name="Hanna")
    template = MailTemplate.compile(subject, body, facts)
    return template.render(guest_name=guest_name, rsvp_link=LINK, unsubscribe_url=UNSUBSCRIBE)


def test_all_placeholders_are_filled_in_subject_text_and_html() -> None:
    mail = rendered(EVERYTHING, subject=EVERYTHING)
    filled = f"Ann Garden Party Sat, 05 Dec 2026 · 18:30 Rose Garden, Main Street 1 {LINK}"
    assert mail.subject == filled
    assert mail.text.startswith(filled + "\n")
    assert filled in ReadHtml(mail.html).text


@settings(max_examples=200, deadline=None)
@given(guest_name=ANY_TEXT | HOSTILE, event_name=ANY_TEXT | HOSTILE, venue=ANY_TEXT | HOSTILE)
@example(guest_name="A" * 10_000, event_name="<h1>" * 3_000, venue="\u202e\n" * 5_000)
def test_no_value_becomes_markup_a_link_a_placeholder_or_a_second_line(
    guest_name: str, event_name: str, venue: str
) -> None:
    mail = rendered(
        "Hi {{guest_name}}!\n\n{{event_name}} at {{venue}}",
        subject="For {{guest_name}}: {{event_name}}",
        guest_name=guest_name,
        name=event_name,
        venue=venue,
    )
    plain = rendered("Hi {{guest_name}}!\n\n{{event_name}} at {{venue}}", subject="x")
    html, plain_html = ReadHtml(mail.html), ReadHtml(plain.html)
    shown_name = clean_value(guest_name, GUEST_NAME_LIMIT) or "Guest"
    shown_event = clean_value(event_name, EVENT_NAME_LIMIT)

    assert html.links == plain_html.links == [UNSUBSCRIBE]
    assert [tag for tag, _ in html.tags if tag != "p"] == [tag for tag, _ in plain_html.tags if tag != "p"]
    assert f"Hi {shown_name}!" in html.text
    assert mail.text.startswith(f"Hi {shown_name}!\n\n{shown_event}")
    assert len(mail.text.splitlines()) <= len(plain.text.splitlines())
    assert mail.subject == clean_value(f"For {shown_name}: {shown_event}", SUBJECT_LIMIT)


def test_html_is_escaped_and_text_and_subject_are_not() -> None:
    mail = rendered("{{event_name}}: 1 < 2 & 3", subject="{{event_name}} & you", name="Tom & <b>Ann</b>")
    assert mail.subject == "Tom & <b>Ann</b> & you"
    assert mail.text.startswith("Tom & <b>Ann</b>: 1 < 2 & 3\n")
    assert "Tom &amp; &lt;b&gt;Ann&lt;/b&gt;: 1 &lt; 2 &amp; 3" in mail.html


@pytest.mark.parametrize("name", ["", " \r\n ", "\u202e\u200b"])
def test_a_guest_without_a_printable_name_is_called_guest(name: str) -> None:
    assert rendered("Dear {{guest_name}},", guest_name=name).text.startswith("Dear Guest,\n")


def test_an_event_without_a_venue_shows_none() -> None:
    mail = rendered("At {{venue}}.", venue=" ")
    assert mail.text.startswith("At the venue.\n")
    assert "Where:" not in mail.text


def test_both_parts_name_date_zone_and_venue_and_say_why_they_came() -> None:
    mail = rendered("Hello")
    for words in (mail.text, ReadHtml(mail.html).text):
        assert "Garden Party" in words
        assert "Sat, 05 Dec 2026 · 18:30 – 22:30" in words
        assert "Europe/Berlin (UTC+01:00)" in words
        assert "Rose Garden, Main Street 1" in words
        assert "because Hanna put you on the guest list of Garden Party." in words


def test_the_unsubscribe_link_is_in_both_parts_only_when_there_is_one() -> None:
    template = MailTemplate.compile("Hello", "Hello", EventFacts.of(EVENT))
    with_link = template.render(guest_name="Ann", rsvp_link=LINK, unsubscribe_url=UNSUBSCRIBE + "?a=1&b=2")
    without = template.render(guest_name="Ann", rsvp_link=LINK)
    assert with_link.text.endswith(f"\nUnsubscribe: {UNSUBSCRIBE}?a=1&b=2\n")
    assert ReadHtml(with_link.html).links == [UNSUBSCRIBE + "?a=1&b=2"]
    assert f'href="{UNSUBSCRIBE}?a=1&amp;b=2"' in with_link.html
    assert "nsubscribe" not in without.text + without.html


def test_the_inbox_preview_shows_how_the_mail_begins() -> None:
    html = rendered("Hi {{guest_name}},\n\nsee   you & yours.\n" + "More. " * 100, guest_name="Ann <b>").html
    (preview,) = [line for line in html.splitlines() if "display:none" in line]
    shown = ReadHtml(preview).text
    assert shown.startswith("Hi Ann <b>, see you & yours. More.")
    assert len(shown) <= 140


def test_a_line_with_only_the_rsvp_link_is_a_button_with_the_label_of_its_audience() -> None:
    facts = EventFacts.of(EVENT)
    for audience, label in (
        (MessageAudience.PENDING, "RSVP now"),
        (MessageAudience.ATTENDING, "View or change my RSVP"),
        (MessageAudience.EVERYONE, "Open my RSVP"),
    ):
        template = MailTemplate.compile(
            "x", "Please answer:\n {{ rsvp_link }} \nThanks", facts, button_label=rsvp_button_label(audience)
        )
        mail = template.render(guest_name="Ann", rsvp_link=LINK)
        html = ReadHtml(mail.html)
        assert html.links == [LINK]
        assert f"Please answer: {label} Thanks" in html.text
        assert f"\n {LINK} \n" in mail.text


@pytest.mark.parametrize("rule", list(REMINDER_RULES.values()), ids=list(REMINDER_RULES))
def test_every_reminder_renders_with_one_button_and_no_gap(rule: ReminderRule) -> None:
    mail = rendered(rule.body, subject=rule.subject)
    assert ReadHtml(mail.html).links == [LINK, UNSUBSCRIBE]
    assert "Garden Party" in mail.subject
    assert len(mail.subject) <= 68
    for part in (mail.subject, mail.text, ReadHtml(mail.html).text):
        assert "{" not in part
        assert "  " not in part


def test_a_broken_template_is_refused_before_anything_is_rendered() -> None:
    with pytest.raises(TemplateRefused) as refused:
        rendered("Hi\n{{ nobody }}", subject="{% raw %}")
    assert [(problem.field, problem.line) for problem in refused.value.problems] == [("subject", 1), ("body", 2)]


def test_one_template_serves_many_guests() -> None:
    template = MailTemplate.compile("Hi {{guest_name}}", "{{guest_name}} {{rsvp_link}}", EventFacts.of(EVENT))
    for name in ("Ann", "Bob"):
        link = f"https://example.com/rsvp/{name}"
        mail = template.render(guest_name=name, rsvp_link=link)
        assert (mail.subject, mail.text.splitlines()[0]) == (f"Hi {name}", f"{name} {link}")
        assert ReadHtml(mail.html).links == [link]


def test_branding_shows_logo_colour_and_postal_address() -> None:
    branding = Branding(
        name="Kestrel & Co", accent="#F5C542", logo_url="https://example.com/logo.png", postal_address="Main Street 1"
    )
    template = MailTemplate.compile("x", "{{rsvp_link}}", EventFacts.of(EVENT), branding=branding)
    mail = template.render(guest_name="Ann", rsvp_link=LINK)
    images = [attributes for tag, attributes in ReadHtml(mail.html).tags if tag == "img"]
    assert [(image["src"], image["alt"]) for image in images] == [("https://example.com/logo.png", "Kestrel & Co")]
    assert "background:#F5C542" in mail.html
    for words in (mail.text, ReadHtml(mail.html).text):
        assert "Main Street 1" in words


@pytest.mark.parametrize(
    "fields",
    [
        {"accent": "red"},
        {"accent": "#fff;}"},
        {"logo_url": "http://example.com/logo.png"},
        {"logo_url": 'https://example.com/"onload="x'},
        {"name": "two\nlines"},
        {"postal_address": "two\r\nlines"},
    ],
)
def test_branding_that_would_break_a_mail_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(BrandingInvalid):
        Branding(**fields)


@given(st.from_regex(r"#[0-9a-f]{6}", fullmatch=True))
def test_words_on_any_accent_colour_can_be_read(accent: str) -> None:
    assert _contrast(Branding(accent=accent).ink, accent) >= 4.5
    assert _contrast(Branding(accent=accent).link, "#ffffff") >= 4.5


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        channel / 12.92 if channel <= 0.03928 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels
    )
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)
