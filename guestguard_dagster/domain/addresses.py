"""Email addresses: the one form in which they are kept, and the key by which two of them are the same.

Every entrance (API, guest files, events, callbacks, unsubscribes, operators) and every look-up goes through here.
Error texts never carry the address.
"""

import re
import unicodedata

import idna

_LONGEST_LOCAL_PART = 64
_LONGEST_ADDRESS = 254

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_ATOM_CHARACTERS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]+")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_WITH_NAME = re.compile(r".*<([^<>@]+@[^<>]+)>\s*", re.DOTALL)

_AT_SIGNS = str.maketrans({"\uff20": "@", "\ufe6b": "@"})
_UNSTORABLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs"})
_JOINERS = str.maketrans(dict.fromkeys("\u200c\u200d"))
# Soft hyphens, joiners, fillers and variation selectors come along when an address is copied from a page or a PDF.
_INVISIBLE = str.maketrans(
    dict.fromkeys(
        "\u00ad\u034f\u115f\u1160\u180e\u200b\u200c\u200d\u2060\u3164\ufeff\uffa0"
        "\ufe00\ufe01\ufe02\ufe03\ufe04\ufe05\ufe06\ufe07\ufe08\ufe09\ufe0a\ufe0b\ufe0c\ufe0d\ufe0e\ufe0f"
    )
)


class AddressInvalid(ValueError):
    """This is not an email address that mail can be sent to."""


def canonical_email(address: str) -> str:
    """`address` in the form that is stored, shown and written to, whatever its spelling.

    The domain is in lower case and ASCII (IDNA). The part before the @ is normalised (NFKC), without invisible
    characters and without quotes; its case stays if it is ASCII, and is lower beyond that. What is canonical stays as
    it is. Raises AddressInvalid.
    """
    local_part, at, domain = address.strip().translate(_AT_SIGNS).rpartition("@")
    if not (local_part and at and domain):
        raise AddressInvalid("the email address lacks its @, or one of the two sides of it")
    local_part, domain = _canonical_local_part(local_part), _canonical_domain(domain)
    # Odd dots are written in quotes when the address is used.
    octets = len(local_part.encode()) + (0 if has_plain_dots(local_part) else 2)
    if octets > _LONGEST_LOCAL_PART or octets + 1 + len(domain) > _LONGEST_ADDRESS:
        raise AddressInvalid("the email address is longer than mail allows")
    return f"{local_part}@{domain}"


def email_as_kept(address: str | None) -> str | None:
    """`address` in its canonical form; one that cannot be read stays as it was written, for its owner to correct.

    None for an empty one.
    """
    try:
        return canonical_email(address) if address else None
    except AddressInvalid:
        return address.strip() or None if address else None


def email_key(address: str) -> str:
    """By this two spellings of one address are the same: its canonical form in lower case. Never raises.

    Reads `Name <address>` too. What is no address has a key all the same, so that a suppression of it is not lost.
    """
    try:
        return canonical_email(address).lower()
    except AddressInvalid:
        pass
    if within := _WITH_NAME.fullmatch(address):
        return email_key(within[1])
    visible = unicodedata.normalize("NFKC", address.translate(_INVISIBLE))
    return "".join(each for each in visible if unicodedata.category(each) not in _UNSTORABLE_CATEGORIES).strip().lower()


def has_plain_dots(local_part: str) -> bool:
    """Whether the part before the @ needs no quotes: it is beyond ASCII, or a dot-atom (RFC 5322)."""
    return not local_part.isascii() or _DOT_ATOM.fullmatch(local_part) is not None


def _canonical_local_part(local_part: str) -> str:
    if local_part.isascii():
        if len(local_part) > 2 and local_part[0] == local_part[-1] == '"':
            local_part = local_part[1:-1]
    else:
        local_part = unicodedata.normalize("NFKC", local_part.translate(_INVISIBLE))
    if not (_ATOM_CHARACTERS.fullmatch(local_part) and local_part.isprintable()):
        raise AddressInvalid("the email address has characters before the @ that no address may have")
    # Databases fold letters beyond ASCII each in a way of its own: nothing is left for them to fold.
    return local_part if local_part.isascii() else unicodedata.normalize("NFKC", local_part.lower())


def _canonical_domain(domain: str) -> str:
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            # Some scripts need joiners; elsewhere they are nothing but invisible.
            without_joiners = domain.translate(_JOINERS)
            if without_joiners == domain:
                raise AddressInvalid("the domain of the email address is not a valid domain name") from None
            return _canonical_domain(without_joiners)
    if not _DOMAIN.fullmatch(domain):
        raise AddressInvalid("the domain of the email address is not a valid domain name")
    return domain.lower()
