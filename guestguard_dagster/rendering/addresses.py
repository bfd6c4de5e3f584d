"""Email addresses in the form that mail servers take. Error texts never carry the address."""

import re
import unicodedata
from functools import lru_cache

import idna

_LONGEST_LOCAL_PART = 64
_LONGEST_ADDRESS = 254
# An address is asked for more than once while its mail is made.
_ADDRESSES_KEPT = 16

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_ATOM_CHARACTERS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]+")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


class AddressInvalid(ValueError):
    """This is not an email address that mail can be sent to."""


class AddressNeedsSmtpUtf8(AddressInvalid):
    """The part before the @ is not ASCII: only a provider with SMTPUTF8 takes such an address."""


def ascii_address(address: str) -> str:
    """`address` for a header or an envelope: its domain as IDNA, odd dots in its local part quoted.

    Raises AddressInvalid, or AddressNeedsSmtpUtf8 for a local part beyond ASCII.
    """
    wire_form = utf8_address(address)
    if not wire_form.isascii():
        raise AddressNeedsSmtpUtf8("the email address has letters beyond ASCII before the @, which few servers take")
    return wire_form


@lru_cache(_ADDRESSES_KEPT)
def utf8_address(address: str) -> str:
    """As `ascii_address`, with letters beyond ASCII left in the local part, for servers with SMTPUTF8 (RFC 6531)."""
    local_part, at, domain = address.strip().rpartition("@")
    if not (local_part and at and domain):
        raise AddressInvalid("the email address lacks its @, or one of the two sides of it")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise AddressInvalid("the domain of the email address is not a valid domain name") from None
    if not _DOMAIN.fullmatch(domain):
        raise AddressInvalid("the domain of the email address is not a valid domain name")
    local_part = unicodedata.normalize("NFC", local_part)
    if not _DOT_ATOM.fullmatch(local_part):
        if not (_ATOM_CHARACTERS.fullmatch(local_part) and local_part.isprintable()):
            raise AddressInvalid("the email address has characters before the @ that no address may have")
        # Some mobile carriers gave out addresses with doubled or trailing dots: valid only in quotes.
        if local_part.isascii():
            local_part = f'"{local_part}"'
    if len(local_part.encode()) > _LONGEST_LOCAL_PART or len(local_part.encode()) + 1 + len(domain) > _LONGEST_ADDRESS:
        raise AddressInvalid("the email address is longer than mail allows")
    return f"{local_part}@{domain}"
