"""Whatever a provider quotes back, nothing personal or secret gets through."""

import string

from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.senders.scrub import address_parts, scrub

words = st.text(alphabet=string.ascii_letters + " .,:;<>()[]'\"-\n\t", max_size=40)
secrets = st.text(alphabet=string.ascii_letters + string.digits + "_-", min_size=24, max_size=80)
phones = st.builds(lambda digits: f"+{digits}", st.text(alphabet=string.digits, min_size=8, max_size=15))


@given(words, st.emails(), words)
def test_no_email_address_gets_through(before: str, email: str, after: str) -> None:
    said = scrub(f"{before} {email} {after}")
    assert "@" not in said
    assert email not in said


@given(words, st.emails(), words)
def test_no_part_of_a_known_address_gets_through(before: str, email: str, after: str) -> None:
    local = email.rpartition("@")[0]
    said = scrub(f"{before} <{local}> unknown; {email.upper()} {after}", address_parts(email))
    assert email.casefold() not in said.casefold()
    if len(local) > 2 and local.casefold() not in f"{before}{after} unknown; hidden".casefold():
        assert local.casefold() not in said.casefold()


@given(words, phones, words)
def test_no_phone_number_gets_through(before: str, phone: str, after: str) -> None:
    said = scrub(f"{before}{phone}{after}")
    assert phone not in said
    assert phone[1:] not in said


@given(words, secrets, words)
def test_no_token_gets_through(before: str, secret: str, after: str) -> None:
    assert secret not in scrub(f"{before} {secret} {after}")


@given(st.text(max_size=2000))
def test_the_result_is_one_short_line(text: str) -> None:
    said = scrub(text)
    assert len(said) <= 300
    assert said == said.strip()
    assert len(said.splitlines()) <= 1


def test_links_go_and_what_helps_an_operator_stays() -> None:
    said = scrub(
        "550 5.1.1 mailbox full, see https://help.example/r?to=ada%40example.org&t=secret or call (030) 1234 5678"
    )
    assert said == "550 5.1.1 mailbox full, see [link] or call [number]"
    assert (
        scrub("Domain verified at resend.com/domains on port 587")
        == "Domain verified at resend.com/domains on port 587"
    )


def test_a_known_value_goes_in_any_case() -> None:
    assert scrub("Key RE_Short is invalid", ["re_short"]) == "Key [hidden] is invalid"
