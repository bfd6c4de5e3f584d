"""Makes a provider's own words fit for a log and a database row: no address, number, link, token or secret stays."""

import re
from collections.abc import Iterable

from guestguard_dagster.domain.plain_text import clean_value

_LONGEST_DETAIL = 300

# Order matters: a link may hold an address, an address may hold digits.
_LINK = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_ADDRESS = re.compile(r"\"[^\"]*\"(?:@|\uff20|%40)\S*|\S*(?:@|\uff20|%40)\S*")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{24,}")
_NUMBER = re.compile(r"\+?\(?\d[\d\s().\u00a0/-]*\d")
_INTERNATIONAL_DIGITS, _PLAIN_DIGITS = 5, 8


def scrub(text: str, hide: Iterable[str | None] = ()) -> str:
    """What the provider said, in one line of at most 300 characters, without anything personal or secret.

    `hide` are the values that this hand-off knows (the recipient's address, the API key): they go wherever they stand,
    in any case. Whatever else looks like an address, phone number, link or token goes as well.
    """
    for value in sorted({value for value in hide if value}, key=len, reverse=True):
        text = re.sub(re.escape(value), "[hidden]", text, flags=re.IGNORECASE)
    text = _LINK.sub("[link]", text)
    text = _ADDRESS.sub("[address]", text)
    text = _TOKEN.sub("[token]", text)
    text = _NUMBER.sub(_hide_phone_number, text)
    return clean_value(text, _LONGEST_DETAIL)


def address_parts(email: str) -> tuple[str, ...]:
    """What to hide of an email address: all of it, and its local part where that is long enough to be told apart."""
    local, at, _ = email.rpartition("@")
    return (email, local) if at and len(local) > 2 else (email,)


def _hide_phone_number(match: re.Match[str]) -> str:
    found = match.group()
    digits = sum(character.isdigit() for character in found)
    looks_dialled = digits >= (_INTERNATIONAL_DIGITS if found.startswith("+") else _PLAIN_DIGITS)
    return "[number]" if looks_dialled else found
