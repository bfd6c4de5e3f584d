"""Resend on loopback: /emails and /emails/batch as https://resend.com/docs documents them.

Idempotency keys replay for 24 hours of a clock that tests can move; attachments are dropped in batches; rate limits and
quotas are counted; batches validate strictly or permissively.
"""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from guestguard_dagster_tests.loopback.by_hand import argument_parser, serve_until_stopped
from guestguard_dagster_tests.loopback.http_server import HttpLoopback, HttpRequest, HttpResponse

API_KEY = "re_loopback_key"
SENDING_DOMAIN = "guestguard.example"

_KEY_LIFETIME_SECONDS = 24 * 3600
_LARGEST_BATCH = 100
_ADDRESS = re.compile(r"(?:.*<)?[\x21-\x7e]+@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)>?")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")


@dataclass(frozen=True, slots=True)
class AcceptedEmail:
    """One email that was taken. `tags` by name; `attachments` are file names, none in a batch."""

    id: str
    to: tuple[str, ...]
    sender: str
    subject: str
    html: str
    text: str
    reply_to: str | None
    headers: dict[str, str]
    tags: dict[str, str]
    attachments: tuple[str, ...]
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class _Remembered:
    body_digest: bytes
    response: HttpResponse
    at: float


class Refused(Exception):
    """The API's error: its status, name and message."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.name = name

    def response(self, headers: dict[str, str]) -> HttpResponse:
        return HttpResponse.of_json(
            self.status, {"statusCode": self.status, "name": self.name, "message": str(self)}, headers
        )


class ResendLoopback(HttpLoopback):
    """One team's account. What was taken is in `accepted`, every request that came in `requests`."""

    def __init__(
        self,
        port: int = 0,
        *,
        api_key: str = API_KEY,
        sending_domain: str = SENDING_DOMAIN,
        requests_per_second: int | None = None,
        daily_quota: int | None = None,
        processing_seconds: float = 0,
    ) -> None:
        super().__init__(port)
        self.accepted: list[AcceptedEmail] = []
        self.requests: list[HttpRequest] = []
        self.refused_for_rate = 0
        self.processing_seconds = processing_seconds
        self._api_key = api_key
        self._sending_domain = sending_domain
        self._requests_per_second = requests_per_second
        self._daily_quota = daily_quota
        self._moved_seconds = 0.0
        self._remembered: dict[str, _Remembered] = {}
        self._under_way: set[str] = set()
        self._window: Counter[int] = Counter()
        self._lock = threading.Lock()

    def move_clock(self, seconds: float) -> None:
        """Let time pass for the idempotency keys."""
        self._moved_seconds += seconds

    def recipients(self) -> Counter[str]:
        """How many emails were taken for each recipient."""
        return Counter(recipient for email in self.accepted for recipient in email.to)

    def report(self) -> object:
        return [asdict(email) for email in self.accepted]

    def answer(self, request: HttpRequest) -> HttpResponse:
        with self._lock:
            self.requests.append(request)
        rate_headers: dict[str, str] = {}
        try:
            rate_headers = self._count_request()
            self._authenticate(request)
            if request.path not in {"/emails", "/emails/batch"}:
                raise Refused(404, "not_found", "The requested endpoint does not exist")
            if request.method != "POST":
                raise Refused(405, "method_not_allowed", "Method is not allowed for the requested path")
            return self._answer_once(request, rate_headers)
        except Refused as refusal:
            if refusal.name == "rate_limit_exceeded":
                rate_headers = self._rate_headers(0) | {"retry-after": "1"}
            return refusal.response(rate_headers)

    def _count_request(self) -> dict[str, str]:
        if self._requests_per_second is None:
            return {}
        with self._lock:
            second = int(time.monotonic())
            self._window[second] += 1
            left = self._requests_per_second - self._window[second]
            if left < 0:
                self.refused_for_rate += 1
                raise Refused(429, "rate_limit_exceeded", "Too many requests. You can only make a few per second.")
        return self._rate_headers(left)

    def _rate_headers(self, left: int) -> dict[str, str]:
        return {
            "ratelimit-limit": str(self._requests_per_second),
            "ratelimit-remaining": str(left),
            "ratelimit-reset": "1",
        }

    def _authenticate(self, request: HttpRequest) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not given:
            raise Refused(401, "missing_api_key", "Missing API key in the authorization header.")
        if given != self._api_key:
            raise Refused(403, "invalid_api_key", "API key is invalid.")

    def _answer_once(self, request: HttpRequest, rate_headers: dict[str, str]) -> HttpResponse:
        key = request.headers.get("idempotency-key")
        if key is None:
            return self._take(request, rate_headers)
        if not 1 <= len(key) <= 256:
            raise Refused(400, "invalid_idempotency_key", "The key must be between 1-256 chars.")
        digest = hashlib.sha256(request.body).digest()
        with self._lock:
            if key in self._under_way:
                raise Refused(409, "concurrent_idempotent_requests", "The original request is still in progress.")
            remembered = self._remembered.get(key)
            if remembered is not None and self._now() - remembered.at < _KEY_LIFETIME_SECONDS:
                if remembered.body_digest != digest:
                    raise Refused(409, "invalid_idempotent_request", "The key was used with a different payload.")
                return remembered.response
            self._under_way.add(key)
        try:
            self.stopping.wait(self.processing_seconds)
            response = self._take(request, rate_headers)
            with self._lock:
                self._remembered[key] = _Remembered(digest, response, self._now())
            return response
        finally:
            with self._lock:
                self._under_way.discard(key)

    def _now(self) -> float:
        return time.monotonic() + self._moved_seconds

    def _take(self, request: HttpRequest, rate_headers: dict[str, str]) -> HttpResponse:
        try:
            content = json.loads(request.body)
        except ValueError:
            raise Refused(422, "validation_error", "The request body is not valid JSON.") from None
        if request.path == "/emails":
            return HttpResponse.of_json(200, {"id": self._accept(content, request, in_batch=False)}, rate_headers)
        return HttpResponse.of_json(200, self._take_batch(content, request), rate_headers)

    def _take_batch(self, content: Any, request: HttpRequest) -> dict[str, object]:
        if not isinstance(content, list) or not 1 <= len(content) <= _LARGEST_BATCH:
            raise Refused(422, "validation_error", f"The batch must have between 1 and {_LARGEST_BATCH} emails.")
        permissive = request.headers.get("x-batch-validation") == "permissive"
        errors: list[dict[str, object]] = []
        valid = []
        for index, email in enumerate(content):
            try:
                self._validate(email)
                valid.append(email)
            except Refused as refusal:
                if not permissive:
                    raise
                errors.append({"index": index, "message": str(refusal)})
        data = [{"id": self._accept(email, request, in_batch=True)} for email in valid]
        return {"data": data, "errors": errors} if permissive else {"data": data}

    def _accept(self, email: Any, request: HttpRequest, *, in_batch: bool) -> str:
        self._validate(email)
        to = email["to"]
        with self._lock:
            if self._daily_quota is not None and len(self.accepted) >= self._daily_quota:
                raise Refused(429, "daily_quota_exceeded", "You have reached your daily email sending quota.")
            accepted = AcceptedEmail(
                id=str(uuid4()),
                to=(to,) if isinstance(to, str) else tuple(to),
                sender=email["from"],
                subject=email["subject"],
                html=email.get("html", ""),
                text=email.get("text", ""),
                reply_to=email.get("reply_to"),
                headers=email.get("headers", {}),
                tags={tag["name"]: tag["value"] for tag in email.get("tags", [])},
                attachments=() if in_batch else tuple(item["filename"] for item in email.get("attachments", [])),
                idempotency_key=request.headers.get("idempotency-key"),
            )
            self.accepted.append(accepted)
        return accepted.id

    def _validate(self, email: Any) -> None:
        for name in ("from", "to", "subject"):
            if not email.get(name):
                raise Refused(422, "missing_required_field", f"Missing `{name}` field.")
        sender = _ADDRESS.fullmatch(email["from"])
        if sender is None:
            raise Refused(422, "invalid_from_address", f"Invalid `from` field: {email['from']}.")
        if sender.group(1) != self._sending_domain:
            raise Refused(403, "validation_error", f"The {sender.group(1)} domain is not verified.")
        recipients = [email["to"]] if isinstance(email["to"], str) else email["to"]
        for recipient in recipients:
            if not _ADDRESS.fullmatch(recipient):
                raise Refused(422, "validation_error", f"Invalid `to` field: {recipient}. Use `email@example.com`.")
        for tag in email.get("tags", []):
            if not (_TAG.fullmatch(tag["name"]) and _TAG.fullmatch(tag["value"])):
                raise Refused(422, "validation_error", "Tags should only have ASCII letters, numbers, _ and -.")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--api-key", default=API_KEY)
    parser.add_argument("--sending-domain", default=SENDING_DOMAIN, help="the only verified domain")
    parser.add_argument("--requests-per-second", type=int, help="answer 429 beyond; unlimited without")
    parser.add_argument("--daily-quota", type=int, help="emails; answer 429 daily_quota_exceeded beyond")
    parser.add_argument("--processing-seconds", type=float, default=0, help="how long a request stays in progress")
    options = parser.parse_args()
    server = ResendLoopback(
        options.port,
        api_key=options.api_key,
        sending_domain=options.sending_domain,
        requests_per_second=options.requests_per_second,
        daily_quota=options.daily_quota,
        processing_seconds=options.processing_seconds,
    )
    with server:
        server.faults.add(*options.fault)
        serve_until_stopped(f"Resend on {server.url}, API key {options.api_key}, from @{options.sending_domain}")


if __name__ == "__main__":
    main()
