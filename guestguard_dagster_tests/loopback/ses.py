"""SES v2 on loopback: SendEmail with raw MIME, GetAccount, and the service's error bodies."""

import base64
import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from uuid import uuid4

from guestguard_dagster_tests.loopback.by_hand import argument_parser, serve_until_stopped
from guestguard_dagster_tests.loopback.http_server import HttpLoopback, HttpRequest, HttpResponse

ACCESS_KEY_ID = "AKIALOOPBACK"
SENDING_DOMAIN = "guestguard.example"
SEND_EMAIL = "/v2/email/outbound-emails"
GET_ACCOUNT = "/v2/email/account"


@dataclass(frozen=True, slots=True)
class AcceptedEmail:
    """One mail that was taken; `content` is its raw MIME."""

    message_id: str
    to: tuple[str, ...]
    sender: str
    content: str
    tags: dict[str, str]
    configuration_set: str | None


class Refused(Exception):
    """The service's error: HTTP status, type and message."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


def error_response(status: int, kind: str, message: str) -> HttpResponse:
    return HttpResponse.of_json(status, {"message": message}, {"x-amzn-ErrorType": kind})


class SesLoopback(HttpLoopback):
    """One account in one region, with one verified domain. `paused` and `suspended` are states of the account."""

    def __init__(
        self,
        port: int = 0,
        *,
        max_send_rate: float = 14,
        keeps_rate: bool = False,
        may_read_account: bool = True,
        configuration_sets: tuple[str, ...] = (),
    ) -> None:
        super().__init__(port)
        self.accepted: list[AcceptedEmail] = []
        self.paused = False
        self.suspended = False
        self._max_send_rate = max_send_rate
        self._keeps_rate = keeps_rate
        self._may_read_account = may_read_account
        self._configuration_sets = configuration_sets
        self._window: Counter[int] = Counter()
        self._lock = threading.Lock()

    def recipients(self) -> Counter[str]:
        """How many mails were taken for each recipient."""
        return Counter(recipient for email in self.accepted for recipient in email.to)

    def report(self) -> object:
        return [asdict(email) for email in self.accepted]

    def answer(self, request: HttpRequest) -> HttpResponse:
        try:
            if f"Credential={ACCESS_KEY_ID}/" not in request.headers.get("authorization", ""):
                raise Refused(403, "UnrecognizedClientException", "The security token included is invalid.")
            if (request.method, request.path) == ("GET", GET_ACCOUNT):
                return HttpResponse.of_json(200, self._account())
            if (request.method, request.path) == ("POST", SEND_EMAIL):
                return HttpResponse.of_json(200, {"MessageId": self._take(request)})
            raise Refused(404, "NotFoundException", "There is no such operation.")
        except Refused as refusal:
            return error_response(refusal.status, refusal.kind, str(refusal))

    def _account(self) -> dict[str, object]:
        if not self._may_read_account:
            raise Refused(403, "AccessDeniedException", "User is not authorized to perform: ses:GetAccount")
        return {
            "SendingEnabled": not self.paused,
            "ProductionAccessEnabled": True,
            "SendQuota": {
                "Max24HourSend": 50000.0,
                "MaxSendRate": self._max_send_rate,
                "SentLast24Hours": float(len(self.accepted)),
            },
        }

    def _take(self, request: HttpRequest) -> str:
        if self.suspended:
            raise Refused(400, "AccountSuspendedException", "Sending is permanently restricted for this account.")
        if self.paused:
            raise Refused(400, "SendingPausedException", "Sending is paused for this account.")
        content = json.loads(request.body)
        sender = content["FromEmailAddress"]
        if not sender.endswith(f"@{SENDING_DOMAIN}"):
            raise Refused(400, "MessageRejected", f"Email address is not verified: {sender}")
        configuration_set = content.get("ConfigurationSetName")
        if configuration_set is not None and configuration_set not in self._configuration_sets:
            raise Refused(404, "NotFoundException", f"Configuration set <{configuration_set}> does not exist.")
        email = AcceptedEmail(
            message_id=f"0100{uuid4().hex}-{uuid4()}-000000",
            to=tuple(content["Destination"]["ToAddresses"]),
            sender=sender,
            content=base64.b64decode(content["Content"]["Raw"]["Data"]).decode(),
            tags={tag["Name"]: tag["Value"] for tag in content.get("EmailTags", [])},
            configuration_set=configuration_set,
        )
        with self._lock:
            self._window[int(time.monotonic())] += 1
            if self._keeps_rate and self._window[int(time.monotonic())] > self._max_send_rate:
                raise Refused(429, "TooManyRequestsException", "Maximum sending rate exceeded.")
            self.accepted.append(email)
        return email.message_id


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--max-send-rate", type=float, default=14, help="mails a second that GetAccount tells")
    parser.add_argument("--keep-rate", action="store_true", help="answer 429 beyond the rate")
    options = parser.parse_args()
    server = SesLoopback(options.port, max_send_rate=options.max_send_rate, keeps_rate=options.keep_rate)
    with server:
        server.faults.add(*options.fault)
        serve_until_stopped(f"SES on {server.url}, access key {ACCESS_KEY_ID}, from @{SENDING_DOMAIN}")


if __name__ == "__main__":
    main()
