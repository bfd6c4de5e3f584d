"""One address is one address, however it is spelled; and what is canonical stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.domain.addresses import AddressInvalid, canonical_email, email_as_kept, email_key

SPELLINGS = [
    ("Anna@bücher.example", "Anna@xn--bcher-kva.example"),
    ("Anna@BÜCHER.example", "Anna@xn--bcher-kva.example"),
    ("Anna@bu\u0308cher.example", "Anna@xn--bcher-kva.example"),
    ("Anna@XN--BCHER-KVA.Example", "Anna@xn--bcher-kva.example"),
    (" Anna@b\u00adücher.exam\u200dple ", "Anna@xn--bcher-kva.example"),
    ("Ａnna@ｅxample.ｃom", "Anna@example.com"),
    ("An\u00adna@example.com", "Anna@example.com"),
    ("An\u200dna\ufeff@exam\u00adple.com", "Anna@example.com"),
    ("Anna＠example.com", "Anna@example.com"),
    ("Anna@EXAMPLE.com", "Anna@example.com"),
    ('"Anna"@example.com', "Anna@example.com"),
    ('"a..b"@example.org', "a..b@example.org"),
    ("a..b@example.org", "a..b@example.org"),
    ("Zoe\u0308@example.com", "zoë@example.com"),
    ("ann@例え。jp", "ann@xn--r8jz45g.jp"),
    ("ann@نامه\u200cای.com", "ann@xn--mgba3gch31f060k.com"),
]

# Near enough to addresses that many of them are some.
ANY_ADDRESS = st.lists(
    st.sampled_from(
        ["ann", "Ü", "ß", "İ", "ｘ", ".", "..", "@", "＠", "-", '"', "\u00ad", "\u200d", "\u200c", " ", "xn--"]
    )
    | st.sampled_from(["example.com", "bücher.example", "@a.b", "<", ">"])
    | st.text(max_size=3)
).map("".join)


@pytest.mark.parametrize(("written", "canonical"), SPELLINGS)
def test_every_spelling_of_an_address_has_one_canonical_form(written: str, canonical: str) -> None:
    assert canonical_email(written) == canonical
    assert email_key(written) == canonical.lower()


@pytest.mark.parametrize("hostile", ["ann\u202e@example.com", "ann@example.com\u202e@x", "ann\x00@example.com", "ann"])
def test_what_could_deceive_a_reader_is_refused(hostile: str) -> None:
    with pytest.raises(AddressInvalid):
        canonical_email(hostile)


def test_what_is_no_address_is_kept_as_it_was_written() -> None:
    assert email_as_kept(" nobody ") == "nobody"
    assert (email_as_kept("  "), email_as_kept(""), email_as_kept(None)) == (None, None, None)


def test_a_provider_may_name_a_person_with_the_address() -> None:
    assert email_key('"Anna <A.> Lee" <Anna@BÜCHER.example>') == "anna@xn--bcher-kva.example"
    assert email_key("<>") == "<>"


@given(ANY_ADDRESS)
def test_what_is_canonical_stays_as_it_is(written: str) -> None:
    try:
        canonical = canonical_email(written)
    except AddressInvalid:
        return
    assert canonical_email(canonical) == canonical
    assert email_as_kept(canonical) == canonical
    assert email_key(written) == email_key(canonical) == canonical.lower()


@given(ANY_ADDRESS | st.text(alphabet=st.characters()))
def test_everything_has_a_key_that_can_be_stored_and_stays(written: str) -> None:
    key = email_key(written)
    assert "\x00" not in key
    key.encode()
    assert email_key(key) == key


@given(ANY_ADDRESS, st.sampled_from(["\u00ad", "\u200b", "\u200d", "\ufeff"]), st.integers(0, 40))
def test_an_invisible_character_makes_no_other_address(written: str, invisible: str, place: int) -> None:
    try:
        canonical = canonical_email(written)
    except AddressInvalid:
        return
    assert email_key(canonical[:place] + invisible + canonical[place:]) == email_key(canonical)
