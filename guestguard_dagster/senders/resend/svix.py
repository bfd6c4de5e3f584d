"""Svix signatures, by which Resend signs its webhooks (https://docs.svix.com/receiving/verifying-payloads/how-manual)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from guestguard_dagster.senders.base import SignatureInvalid

# Not resend.Webhooks.verify: it takes a signature of any version, and the body as text instead of the bytes received.
_TOLERANCE = timedelta(minutes=5)
_SECRET_PREFIX = "whsec_"  # noqa: S105 - how a secret begins
_VERSION = "v1"
# Of seconds since 1970: until the year 2286.
_TIMESTAMP_DIGITS = 10


def signing_key(secret: str) -> bytes:
    """The bytes behind `whsec_...`. Raises ValueError."""
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a Svix secret is whsec_ and Base64; copy it from the webhook's page") from None


def verify(key: bytes, headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """The id of a message that was signed with this key within five minutes of `now`. Raises SignatureInvalid."""
    message_id = headers.get("svix-id", "")
    timestamp = headers.get("svix-timestamp", "")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIMESTAMP_DIGITS):
        raise SignatureInvalid("the headers svix-id and svix-timestamp are missing")
    if abs(now - datetime.fromtimestamp(int(timestamp), UTC)) > _TOLERANCE:
        raise SignatureInvalid("the callback was signed too long ago, or in the future; check this machine's clock")
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "replace") + body
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    given = [part.partition(",") for part in headers.get("svix-signature", "").split()]
    # Several while a secret is being rotated. All are compared, so that the time says nothing.
    matches = [
        hmac.compare_digest(signature.encode("utf-8", "replace"), wanted)
        for version, _, signature in given
        if version == _VERSION
    ]
    if not any(matches):
        raise SignatureInvalid("the signature is not of the configured secret")
    return message_id
