"""Twilio's Messages API on loopback, with its error bodies and signed status callbacks."""

import base64
import hashlib
import hmac
import re
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from urllib.parse import parse_qs
from uuid import uuid4

import requests

from guestguard_dagster_tests.loopback.by_hand import argument_parser, serve_until_stopped
from guestguard_dagster_tests.loopback.http_server import HttpLoopback, HttpRequest, HttpResponse

ACCOUNT_SID = "AC" + hashlib.md5(b"loopback", usedforsecurity=False).hexdigest()
AUTH_TOKEN = "loopback-auth-token"
FROM_NUMBER = "+15005550006"
SERVICE_SID = "MG" + hashlib.md5(b"service", usedforsecurity=False).hexdigest()

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_LONGEST_BODY = 1600


@dataclass(frozen=True, slots=True)
class AcceptedText:
    """One message that was taken."""

    sid: str
    to: str
    sender: str | None
    messaging_service_sid: str | None
    body: str
    status_callback: str | None
    validity_period: int


class Refused(Exception):
    """The API's error: HTTP status, Twilio's code and message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def error_body(status: int, code: int, message: str) -> dict[str, object]:
    return {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }


def sign(url: str, form: dict[str, str]) -> str:
    """X-Twilio-Signature: HMAC-SHA1 over the URL and the sorted fields."""
    signed = url + "".join(f"{name}{form[name]}" for name in sorted(form))
    return base64.b64encode(hmac.new(AUTH_TOKEN.encode(), signed.encode(), hashlib.sha1).digest()).decode()


class TwilioLoopback(HttpLoopback):
    """One account with one number and one messaging service.

    `opted_out` and `landlines` are numbers that refuse texts.
    """

    def __init__(
        self, port: int = 0, *, concurrent_requests: int | None = None, daily_limit: int | None = None
    ) -> None:
        super().__init__(port)
        self.accepted: list[AcceptedText] = []
        self.opted_out: set[str] = set()
        self.landlines: set[str] = set()
        self.path = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"
        self._concurrent_requests = concurrent_requests
        self._daily_limit = daily_limit
        self._under_way = 0
        self._lock = threading.Lock()

    def recipients(self) -> Counter[str]:
        """How many texts were taken for each number."""
        return Counter(text.to for text in self.accepted)

    def report(self) -> object:
        return [asdict(text) for text in self.accepted]

    def deliver_status(self, text: AcceptedText, status: str, error_code: int | None = None) -> requests.Response:
        """Call the text's status callback as Twilio does: form-encoded and signed."""
        if text.status_callback is None:
            raise ValueError(f"message {text.sid} has no status callback")
        form = {"MessageSid": text.sid, "MessageStatus": status, "AccountSid": ACCOUNT_SID, "To": text.to}
        if error_code is not None:
            form["ErrorCode"] = str(error_code)
        signature = sign(text.status_callback, form)
        return requests.post(text.status_callback, data=form, headers={"X-Twilio-Signature": signature}, timeout=10)

    def answer(self, request: HttpRequest) -> HttpResponse:
        with self._lock:
            self._under_way += 1
            crowded = self._concurrent_requests is not None and self._under_way > self._concurrent_requests
        try:
            if crowded:
                raise Refused(429, 20429, "Too Many Requests")
            return HttpResponse.of_json(201, self._take(request))
        except Refused as refusal:
            return HttpResponse.of_json(refusal.status, error_body(refusal.status, refusal.code, str(refusal)))
        finally:
            with self._lock:
                self._under_way -= 1

    def _take(self, request: HttpRequest) -> dict[str, object]:
        expected = base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            raise Refused(401, 20003, "Authenticate")
        if request.path != self.path or request.method != "POST":
            raise Refused(404, 20404, f"The requested resource {request.path} was not found")
        form = {name: values[0] for name, values in parse_qs(request.body.decode(), keep_blank_values=True).items()}
        self._check(form)
        accepted = AcceptedText(
            sid="SM" + uuid4().hex,
            to=form["To"],
            sender=form.get("From"),
            messaging_service_sid=form.get("MessagingServiceSid"),
            body=form["Body"],
            status_callback=form.get("StatusCallback"),
            validity_period=int(form.get("ValidityPeriod", 36000)),
        )
        with self._lock:
            if self._daily_limit is not None and len(self.accepted) >= self._daily_limit:
                raise Refused(429, 63038, "Account exceeded the daily messages limit")
            self.accepted.append(accepted)
        return {
            "sid": accepted.sid,
            "account_sid": ACCOUNT_SID,
            "api_version": "2010-04-01",
            "body": accepted.body,
            "date_created": time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime()),
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": accepted.sender,
            "messaging_service_sid": accepted.messaging_service_sid,
            "num_segments": "1",
            "status": "queued" if accepted.sender else "accepted",
            "to": accepted.to,
            "uri": f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{accepted.sid}.json",
        }

    def _check(self, form: dict[str, str]) -> None:
        to = form.get("To", "")
        if not _E164.fullmatch(to):
            raise Refused(400, 21211, f"The 'To' number {to} is not a valid phone number.")
        if "From" not in form and "MessagingServiceSid" not in form:
            raise Refused(400, 21603, "A 'From' phone number is required.")
        if form.get("From", FROM_NUMBER) != FROM_NUMBER:
            raise Refused(400, 21606, f"The From phone number {form['From']} is not valid for your account.")
        if form.get("MessagingServiceSid", SERVICE_SID) != SERVICE_SID:
            raise Refused(400, 21705, "The Messaging Service Sid is invalid.")
        if not form.get("Body"):
            raise Refused(400, 21602, "Message body is required.")
        if len(form["Body"]) > _LONGEST_BODY:
            raise Refused(400, 21617, "The concatenated message body exceeds the 1600 character limit.")
        if not 1 <= int(form.get("ValidityPeriod", 36000)) <= 36000:
            raise Refused(400, 21624, "Invalid validity period value")
        if "localhost" in form.get("StatusCallback", ""):
            raise Refused(400, 21609, "The StatusCallback URL is not a valid URL.")
        if to in self.opted_out:
            raise Refused(400, 21610, f"Attempt to send to unsubscribed recipient {to}")
        if to in self.landlines:
            raise Refused(400, 21614, f"'To' number {to} is not a valid mobile number")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--concurrent-requests", type=int, help="answer 429 beyond; unlimited without")
    parser.add_argument("--daily-limit", type=int, help="texts; answer 63038 beyond")
    parser.add_argument("--opted-out", action="append", default=[], help="a number that answered STOP")
    options = parser.parse_args()
    server = TwilioLoopback(
        options.port, concurrent_requests=options.concurrent_requests, daily_limit=options.daily_limit
    )
    server.opted_out.update(options.opted_out)
    with server:
        server.faults.add(*options.fault)
        serve_until_stopped(
            f"Twilio on {server.url}, account {ACCOUNT_SID}, token {AUTH_TOKEN}, number {FROM_NUMBER}, "
            f"messaging service {SERVICE_SID}"
        )


if __name__ == "__main__":
    main()
