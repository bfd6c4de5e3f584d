import string
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.rendering.links import (
    UnsubscribeClaim,
    read_unsubscribe_token,
    rsvp_link,
    unsubscribe_token,
    unsubscribe_url,
)

SECRET = "a long random value"
GUEST, EVENT = UUID(int=2**127 + 5), UUID(int=7)
TOKEN = unsubscribe_token(SECRET, GUEST, EVENT)
URL_SAFE = string.ascii_letters + string.digits + "-_"


def test_the_rsvp_link_is_the_prefix_and_the_guests_own_token() -> None:
    assert rsvp_link("https://example.com/rsvp/", "Ab-9_x") == "https://example.com/rsvp/Ab-9_x"
    assert rsvp_link("https://example.com/rsvp/", 'a/b?"') == "https://example.com/rsvp/a%2Fb%3F%22"


@given(secret=st.text(min_size=1, alphabet=st.characters(codec="utf-8")), guest=st.uuids(), event=st.uuids())
def test_a_signed_token_reads_back(secret: str, guest: UUID, event: UUID) -> None:
    token = unsubscribe_token(secret, guest, event)
    assert set(token) <= set(URL_SAFE)
    assert len(token) <= 66
    assert read_unsubscribe_token(secret, token) == UnsubscribeClaim(guest_id=guest, event_id=event)


def test_the_link_leads_to_the_unsubscribe_page() -> None:
    assert unsubscribe_url("https://example.com/", SECRET, GUEST, EVENT) == f"https://example.com/u/{TOKEN}"


def test_a_token_of_another_secret_is_refused() -> None:
    assert read_unsubscribe_token("another", TOKEN) is None


@given(position=st.integers(0, len(TOKEN) - 1), character=st.sampled_from(URL_SAFE))
def test_a_changed_token_never_speaks_for_somebody_else(position: int, character: str) -> None:
    changed = TOKEN[:position] + character + TOKEN[position + 1 :]
    assert read_unsubscribe_token(SECRET, changed) in (None, UnsubscribeClaim(guest_id=GUEST, event_id=EVENT))
    if position < len(TOKEN) - 1 and changed != TOKEN:
        assert read_unsubscribe_token(SECRET, changed) is None


@pytest.mark.parametrize("token", ["", "x", "====", "ä" * 66, TOKEN[:-4], TOKEN + "AAAA", "a b", "\x00", "A" * 10_000])
def test_garbage_is_refused(token: str) -> None:
    assert read_unsubscribe_token(SECRET, token) is None


@given(st.text(max_size=100))
def test_no_text_makes_the_reader_fail(token: str) -> None:
    assert read_unsubscribe_token(SECRET, token) is None
