"""Email addresses in the form that mail servers take. Error texts never carry the address."""

from functools import lru_cache

from guestguard_dagster.domain.addresses import AddressInvalid, canonical_email, has_plain_dots

# An address is asked for more than once while its mail is made.
_ADDRESSES_KEPT = 16

__all__ = ["AddressInvalid", "AddressNeedsSmtpUtf8", "ascii_address", "utf8_address"]


class AddressNeedsSmtpUtf8(AddressInvalid):
    """The part before the @ is not ASCII: only a provider with SMTPUTF8 takes such an address."""


def ascii_address(address: str) -> str:
    """`address` for a header or an envelope: its canonical form, with odd dots in its local part quoted.

    Raises AddressInvalid, or AddressNeedsSmtpUtf8 for a local part beyond ASCII.
    """
    wire_form = utf8_address(address)
    if not wire_form.isascii():
        raise AddressNeedsSmtpUtf8("the email address has letters beyond ASCII before the @, which few servers take")
    return wire_form


@lru_cache(_ADDRESSES_KEPT)
def utf8_address(address: str) -> str:
    """As `ascii_address`, with letters beyond ASCII left in the local part, for servers with SMTPUTF8 (RFC 6531)."""
    canonical = canonical_email(address)
    local_part, _, domain = canonical.rpartition("@")
    # Some mobile carriers gave out addresses with doubled or trailing dots: valid only in quotes.
    return canonical if has_plain_dots(local_part) else f'"{local_part}"@{domain}'
