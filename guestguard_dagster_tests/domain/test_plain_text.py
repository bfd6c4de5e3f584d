import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.domain.plain_text import clean_text, clean_value

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("Zoë Müller", "Zoë Müller"),
        ("  Ann \t\n Lee\r\n", "Ann Lee"),
        ("Ann\r\nBcc: someone", "Ann Bcc: someone"),
        ("Ann\u2028Lee\u2029\x0b\x85Ray", "Ann Lee Ray"),
        ("A\x00n\x07n\x1b[31m", "Ann[31m"),
        (f"{BIDI}Ann{BIDI}", "Ann"),
        ("\ud800Ann", "Ann"),
        ("\u200b\ufeff\u00ad", ""),
        ("محمد رضا\u200cپور", "محمد رضا\u200cپور"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
    ],
)
def test_a_value_becomes_one_harmless_line(value: str, cleaned: str) -> None:
    assert clean_value(value, 80) == cleaned


def test_ten_thousand_letters_end_in_an_ellipsis() -> None:
    assert clean_value("A" * 10_000, 80) == "A" * 79 + "…"
    assert clean_value("word " * 2_000, 80) == ("word " * 16).strip()[:79].strip() + "…"


@given(st.text(alphabet=st.characters(), max_size=200), st.integers(1, 100))
def test_no_value_carries_a_control_bidi_or_surrogate_character_or_exceeds_its_limit(value: str, limit: int) -> None:
    cleaned = clean_value(value, limit)
    assert len(cleaned) <= limit
    assert not set(cleaned) & set(BIDI)
    assert not {unicodedata.category(character) for character in cleaned} & {"Cc", "Cs", "Zl", "Zp"}
    assert cleaned == cleaned.strip()
    assert clean_value(cleaned, limit) == cleaned


@given(st.text(alphabet=st.characters(), max_size=200))
def test_a_text_keeps_its_lines_and_loses_what_is_invisible(text: str) -> None:
    cleaned = clean_text(text)
    assert len(cleaned.splitlines()) <= len(text.splitlines())
    assert not {unicodedata.category(character) for character in cleaned if character != "\n"} & {"Cc", "Cs"}
    assert clean_text(cleaned) == cleaned.removesuffix("\n")


def test_every_kind_of_line_end_becomes_one() -> None:
    assert clean_text("a\r\nb\rc\n\nd\u2028e\tf\n") == "a\nb\nc\n\nd\ne f"
