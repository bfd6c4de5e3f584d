import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.placeholders import check_template
from guestguard_dagster.domain.plain_text import clean_text
from guestguard_dagster.rendering.paragraphs import BodyStyle, body_pieces
from guestguard_dagster.rendering.sandbox import compile_html
from guestguard_dagster_tests.rendering.reading import ReadHtml

STYLE = BodyStyle(
    paragraph="", link="", button_before_link='<a class="button" href="', button_after_link='">RSVP</a>\n'
)
VALUES = {
    "guest_name": "https://guest.example",
    "event_name": "www.event.example",
    "event_date": "today",
    "venue": "<b>https://venue.example</b>",
    "rsvp_link": "https://example.com/rsvp/Ab?a=1&b=2",
}


def html_of(body: str) -> str:
    return re.sub(r' (class="link"|style="")', "", compile_html(body_pieces(body, STYLE), VALUES).fill(VALUES))


def test_blank_lines_make_paragraphs_and_line_breaks_stay() -> None:
    assert html_of("one\ntwo\n\n \n\nthree") == "<p>one<br>\ntwo</p>\n<p>three</p>\n"


@pytest.mark.parametrize(
    ("text", "link", "words"),
    [
        ("https://example.com", "https://example.com", "https://example.com"),
        ("See https://example.com/a?b=c&d=e.", "https://example.com/a?b=c&d=e", "See https://example.com/a?b=c&d=e."),
        ("(https://example.com/a)", "https://example.com/a", "(https://example.com/a)"),
        ("https://example.com/a_(b)", "https://example.com/a_(b)", "https://example.com/a_(b)"),
        ("(https://example.com/a_(b)), ok", "https://example.com/a_(b)", "(https://example.com/a_(b)), ok"),
        ("“https://example.com/a”!", "https://example.com/a", "“https://example.com/a”!"),
        ("<https://example.com/a>", "https://example.com/a", "<https://example.com/a>"),
        ("Go to www.example.com/x, now", "https://www.example.com/x", "Go to www.example.com/x, now"),
        ("HTTP://EXAMPLE.COM", "HTTP://EXAMPLE.COM", "HTTP://EXAMPLE.COM"),
        ("https://example.com/?q='x'", "https://example.com/?q='x", "https://example.com/?q='x'"),
    ],
)
def test_an_address_becomes_a_link_without_the_punctuation_around_it(text: str, link: str, words: str) -> None:
    html = ReadHtml(html_of(text))
    assert html.links == [link]
    assert html.text == words


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)",
        "ftp://example.com",
        "ann@example.com",
        "https://",
        "xhttps://example.com",
        "wwwexample.com",
    ],
)
def test_other_text_is_no_link(text: str) -> None:
    assert ReadHtml(html_of(text)).links == []


@pytest.mark.parametrize(
    "text", ["{{guest_name}} {{event_name}} {{venue}}", "https://x.io/{{guest_name}}", "{{venue}}https://x.io"]
)
def test_a_value_never_becomes_a_link_nor_part_of_one(text: str) -> None:
    assert ReadHtml(html_of(text)).links == []


def test_the_rsvp_link_is_a_link_inside_a_line_and_a_button_on_its_own() -> None:
    assert html_of("Answer at {{rsvp_link}}.\n{{rsvp_link}}\nThanks") == (
        '<p>Answer at <a href="https://example.com/rsvp/Ab?a=1&amp;b=2">https://example.com/rsvp/Ab?a=1&amp;b=2</a>.</p>\n'
        '<a class="button" href="https://example.com/rsvp/Ab?a=1&amp;b=2">RSVP</a>\n'
        "<p>Thanks</p>\n"
    )


BODIES = st.lists(
    st.sampled_from(
        [
            "\n",
            "\n\n",
            " ",
            "{",
            "}",
            "<b>",
            "&",
            "'",
            "#",
            "%",
            "https://example.com/{",
            "www.x.org/(",
            "{{rsvp_link}}",
            "{{venue}}",
        ]
    )
    | st.text(max_size=6)
).map("".join)


@settings(max_examples=400, deadline=None)
@given(body=BODIES)
def test_every_accepted_body_shows_all_its_words_and_closes_all_its_tags(body: str) -> None:
    if check_template(MessageChannel.EMAIL, "x", body):
        return
    cleaned = clean_text(body)
    assert ReadHtml(html_of(cleaned)).text.split() == [word for line in cleaned.split("\n") for word in shown(line)]


def shown(line: str) -> list[str]:
    if line.strip() == "{{rsvp_link}}":
        return ["RSVP"]
    for name, value in VALUES.items():
        line = line.replace(f"{{{{{name}}}}}", value)
    return line.split()
