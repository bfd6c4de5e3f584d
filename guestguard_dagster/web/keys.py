"""Keys for what the web room signs, each derived from GUESTGUARD_SECRET_KEY under the name of its purpose."""

import hashlib
import hmac


def derived_key(secret: str, purpose: str) -> bytes:
    """32 bytes that say nothing about the secret, nor about another purpose's key."""
    return hmac.digest(secret.encode(), b"guestguard " + purpose.encode() + b" v1\x00", hashlib.sha256)
