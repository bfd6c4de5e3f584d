"""Callbacks as their providers sign them: Svix for Resend, Amazon's own for SNS, Twilio's over the public address."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from requests.adapters import BaseAdapter

from guestguard_dagster.clock import utc_now

RESEND_SECRET = "whsec_" + base64.b64encode(b"a secret of 24 octets ...").decode()
TOPIC = "arn:aws:sns:eu-central-1:123456789012:ses-events"
CERTIFICATE_URL = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0.pem"
CONFIRM_URL = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
TWILIO_TOKEN = "a token of Twilio"


def svix_headers(body: bytes, *, message_id: str | None = None, at: datetime | None = None) -> dict[str, str]:
    message_id = message_id or f"msg_{uuid4().hex}"
    timestamp = str(int((at or utc_now()).timestamp()))
    key = base64.b64decode(RESEND_SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "svix-id": message_id,
        "svix-timestamp": timestamp,
        "svix-signature": f"v1,{base64.b64encode(digest).decode()}",
        "content-type": "application/json",
    }


def twilio_signature(url: str, fields: Mapping[str, str]) -> str:
    told = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.digest(TWILIO_TOKEN.encode(), told.encode(), hashlib.sha1)).decode()


def twilio_call(address: str, fields: Mapping[str, str], query: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `client.post` takes for a callback that Twilio signs for this public address."""
    path = "/webhooks/twilio" + (f"?{urlencode(query)}" if query else "")
    return {
        "url": path,
        "data": dict(fields),
        "headers": {"X-Twilio-Signature": twilio_signature(address + path, fields)},
    }


class Amazon(BaseAdapter):
    """Amazon SNS as far as a receiver meets it: a key, its certificate at an address, and a confirmation address."""

    def __init__(self) -> None:
        super().__init__()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(utc_now() + timedelta(days=3650))
            .sign(self._key, hashes.SHA256())
        )
        self._pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.is_away = False
        self.asked: list[str] = []

    def session(self) -> requests.Session:
        """Where every request leads here."""
        session = requests.Session()
        session.mount("https://", self)
        return session

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        if self.is_away:
            raise requests.ConnectionError
        self.asked.append(request.url or "")
        answer = requests.Response()
        answer.status_code = 200
        answer._content = self._pem if (request.url or "").endswith(".pem") else b"<Confirmed/>"
        return answer

    def close(self) -> None:
        """Nothing is held."""

    def message(self, event: Mapping[str, Any] | None, **fields: str) -> dict[str, str]:
        """A signed message around an SES event."""
        message = {
            "Type": "Notification",
            "MessageId": str(uuid4()),
            "TopicArn": TOPIC,
            "Message": json.dumps(event),
            "Timestamp": "2030-01-01T00:00:00.000Z",
            "SignatureVersion": "2",
            "SigningCertURL": CERTIFICATE_URL,
        } | fields
        order = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        told = "".join(f"{name}\n{message[name]}\n" for name in order if name in message)
        algorithm = hashes.SHA1() if message["SignatureVersion"] == "1" else hashes.SHA256()  # noqa: S303
        signature = self._key.sign(told.encode(), padding.PKCS1v15(), algorithm)
        return {**message, "Signature": base64.b64encode(signature).decode()}
