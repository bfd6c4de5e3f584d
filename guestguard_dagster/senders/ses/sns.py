"""Messages of Amazon SNS: whose they are, and that Amazon signed them
(https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html)."""

import base64
import binascii
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from guestguard_dagster.clock import utc_now
from guestguard_dagster.senders.base import SignatureInvalid
from guestguard_dagster.senders.http_session import HTTP_TIMEOUTS, keep_alive_session

_HOST = re.compile(r"sns\.[a-z0-9-]{3,30}\.amazonaws\.com(\.cn)?")
_LARGEST_CERTIFICATE = 64 * 1024
_MOST_CERTIFICATES = 16

_NOTIFICATION_FIELDS = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION_FIELDS = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Notification": _NOTIFICATION_FIELDS,
    "SubscriptionConfirmation": _CONFIRMATION_FIELDS,
    "UnsubscribeConfirmation": _CONFIRMATION_FIELDS,
}


class SnsUnreachable(Exception):
    """Amazon did not answer in time; the message can be verified when it is sent again."""


class SnsTopic:
    """One topic's messages. Certificates are fetched from Amazon's own hosts, and kept. Thread-safe."""

    def __init__(self, topic_arn: str, session: requests.Session | None = None) -> None:
        self._topic_arn = topic_arn
        self._session = session or keep_alive_session()
        self._certificates: dict[str, x509.Certificate] = {}
        self._lock = threading.Lock()

    def verify(self, message: Mapping[str, Any]) -> None:
        """Raises SignatureInvalid for what is not of this topic or not signed by Amazon, and SnsUnreachable."""
        fields = _FIELDS.get(str(message.get("Type")))
        if fields is None or message.get("TopicArn") != self._topic_arn:
            raise SignatureInvalid("the message is not of the configured topic")
        algorithm = {"1": hashes.SHA1(), "2": hashes.SHA256()}.get(str(message.get("SignatureVersion")))  # noqa: S303
        if algorithm is None:
            raise SignatureInvalid("the message is signed in a way that is not known")
        signed = "".join(f"{name}\n{message[name]}\n" for name in fields if isinstance(message.get(name), str))
        key = self._certificate(str(message.get("SigningCertURL", ""))).public_key()
        if not isinstance(key, RSAPublicKey):
            raise SignatureInvalid("the certificate is not one of Amazon SNS")
        try:
            signature = base64.b64decode(str(message.get("Signature", "")), validate=True)
            key.verify(signature, signed.encode(), PKCS1v15(), algorithm)
        except (InvalidSignature, binascii.Error):
            raise SignatureInvalid("the signature is not Amazon's") from None

    def confirm(self, message: Mapping[str, Any]) -> None:
        """Answer a verified SubscriptionConfirmation: from then on the topic sends here."""
        self._fetch(str(message.get("SubscribeURL", "")))

    def _certificate(self, url: str) -> x509.Certificate:
        with self._lock:
            known = self._certificates.get(url)
            if known is None:
                if len(self._certificates) >= _MOST_CERTIFICATES:
                    self._certificates.clear()
                known = self._certificates[url] = _certificate_from(self._fetch(url))
        now = utc_now()
        if not known.not_valid_before_utc <= now <= known.not_valid_after_utc:
            raise SignatureInvalid("the signing certificate has expired")
        return known

    def _fetch(self, url: str) -> bytes:
        """What Amazon answers at one of its own addresses."""
        parts = urlsplit(url)
        try:
            is_amazons = parts.scheme == "https" and parts.port in (None, 443) and parts.username is None
        except ValueError:
            is_amazons = False
        if not is_amazons or not _HOST.fullmatch(parts.hostname or ""):
            raise SignatureInvalid("the message names an address that is not Amazon's")
        try:
            answer = self._session.get(url, timeout=HTTP_TIMEOUTS, allow_redirects=False)
        except requests.RequestException:
            raise SnsUnreachable("Amazon SNS cannot be reached") from None
        if answer.status_code != 200 or len(answer.content) > _LARGEST_CERTIFICATE:
            raise SnsUnreachable(f"Amazon SNS answered {answer.status_code}")
        return answer.content


def _certificate_from(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise SignatureInvalid("the signing certificate cannot be read") from None
