"""The links in a mail: a guest's RSVP page, and the signed unsubscribe link.

Pure functions of their arguments: who calls them brings prefix and secret from the settings.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote
from uuid import UUID

UNSUBSCRIBE_PATH: Final = "/u/"

_VERSION = b"\x01"
_SIGNATURE_OCTETS = 16
_UUID_OCTETS = 16
# Keys for other purposes derive from the same secret; this name keeps their signatures apart.
_PURPOSE = b"guestguard unsubscribe v1\x00"


@dataclass(frozen=True, slots=True)
class UnsubscribeClaim:
    """What a valid unsubscribe link says: this guest wants no more mail of this event's host."""

    guest_id: UUID
    event_id: UUID


def rsvp_link(prefix: str, rsvp_token: str) -> str:
    """`prefix` (settings.rsvp_link_prefix) and the guest's own token. The result is a secret of that guest."""
    return prefix + quote(rsvp_token, safe="")


def unsubscribe_token(secret: str, guest_id: UUID, event_id: UUID) -> str:
    """A URL-safe token of 66 characters: version, guest, event, and the first half of their HMAC-SHA256."""
    payload = _VERSION + guest_id.bytes + event_id.bytes
    return base64.urlsafe_b64encode(payload + _signature(secret, payload)).rstrip(b"=").decode("ascii")


def read_unsubscribe_token(secret: str, token: str) -> UnsubscribeClaim | None:
    """What the token says if this secret signed it, else None. Takes the same time for every wrong signature."""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    payload, signature = data[:-_SIGNATURE_OCTETS], data[-_SIGNATURE_OCTETS:]
    if not hmac.compare_digest(signature, _signature(secret, payload)):
        return None
    if payload[:1] != _VERSION or len(payload) != 1 + 2 * _UUID_OCTETS:
        return None
    return UnsubscribeClaim(
        guest_id=UUID(bytes=payload[1 : 1 + _UUID_OCTETS]),
        event_id=UUID(bytes=payload[1 + _UUID_OCTETS :]),
    )


def unsubscribe_url(public_base_url: str, secret: str, guest_id: UUID, event_id: UUID) -> str:
    """The one-click link (RFC 8058) for List-Unsubscribe and the mail's footer."""
    return public_base_url.rstrip("/") + UNSUBSCRIBE_PATH + unsubscribe_token(secret, guest_id, event_id)


def preview_unsubscribe_url(public_base_url: str) -> str:
    """What stands in a sample in place of a guest's link; it leads to a page that says so."""
    return f"{public_base_url.rstrip('/')}{UNSUBSCRIBE_PATH}preview"


def _signature(secret: str, payload: bytes) -> bytes:
    return hmac.digest(secret.encode(), _PURPOSE + payload, hashlib.sha256)[:_SIGNATURE_OCTETS]
