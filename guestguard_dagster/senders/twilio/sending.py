"""SMS through Twilio. Not repeatable: a text whose answer never came stays `unknown` until a callback tells."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import requests
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from guestguard_dagster.clock import utc_now
from guestguard_dagster.domain.callbacks import tags_of
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import HandOff, Permit, RateLimit, Text
from guestguard_dagster.senders.http_session import HTTP_TIMEOUTS, keep_alive_session, name_of, never_left, unreachable
from guestguard_dagster.senders.one_by_one import call_each
from guestguard_dagster.senders.twilio.callbacks import CALLBACK_PATH
from guestguard_dagster.senders.twilio.errors import of_error

# Twilio takes 1 to 36,000 seconds, and advises against fewer than 5.
_SHORTEST_VALIDITY, _LONGEST_VALIDITY = 5, 36_000
_LARGEST_BATCH = 20
_PARALLEL_REQUESTS = 4

# The SDK logs every request at INFO.
_sdk_logger = logging.getLogger("guestguard_dagster.senders.twilio.sending.sdk")
_sdk_logger.setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class TwilioAccess:
    """An account and who its texts come from: a number (E.164) or a messaging service.

    `callback_base_url` is where this product answers the web; `base_url` replaces Twilio's own address.
    """

    account_sid: str
    auth_token: str = field(repr=False)
    from_number: str | None = None
    messaging_service_sid: str | None = None
    callback_base_url: str | None = None
    base_url: str | None = None
    timeouts: tuple[float, float] = HTTP_TIMEOUTS


class TwilioSender:
    """One Twilio account. A batch of texts is spread over a few kept connections."""

    provider = "twilio"
    repeatable = False
    overlaps = False

    def __init__(self, access: TwilioAccess, *, messages_per_second: float) -> None:
        self.account = f"twilio:{access.account_sid[:10]}"
        self.rate_limit = RateLimit(messages_per_second, "recipient")
        # What leaves within about a second, so that a run that is stopped ends soon.
        self.batch_size = max(1, min(_LARGEST_BATCH, int(messages_per_second)))
        self._access = access
        self._http = TwilioHttpClient(logger=_sdk_logger)
        # The SDK hands it on to requests, which knows the time to connect from the time to answer.
        self._http.timeout = access.timeouts  # type: ignore[assignment]
        self._http.session = keep_alive_session()
        self._client = Client(access.account_sid, access.auth_token, http_client=self._http)  # type: ignore[no-untyped-call]
        if access.base_url is not None:
            self._client.api.base_url = access.base_url
        self._callback = _callback_url(access.callback_base_url)
        self._workers = ThreadPoolExecutor(max_workers=_PARALLEL_REQUESTS, thread_name_prefix="twilio")

    def prepare(self, items: Sequence[Text]) -> list[HandOff]:
        members = tuple(text.delivery_id for text in items)
        return [HandOff(members, CALLBACK_PATH, body=None, payload=tuple(items))] if items else []

    def hand_off(self, request: HandOff, permit: Permit) -> list[Outcome | None]:
        if not isinstance(request.payload, tuple):
            raise ValueError(f"hand-off {request.key} was not prepared by this sender; Twilio cannot repeat a hand-off")
        return call_each(self._workers, request.payload, self._send, permit)

    def close(self) -> None:
        self._workers.shutdown()
        if self._http.session is not None:
            self._http.session.close()

    def _send(self, text: Text) -> Outcome:
        validity = _LONGEST_VALIDITY
        if text.valid_until is not None:
            validity = min(validity, int((text.valid_until - utc_now()).total_seconds()))
        return self._call(text, validity) if validity >= _SHORTEST_VALIDITY else _too_late(text)

    def _call(self, text: Text, validity: int) -> Outcome:
        optional = {
            "from_": self._access.from_number,
            "messaging_service_sid": self._access.messaging_service_sid,
            "status_callback": self._callback
            and f"{self._callback}?{urlencode(tags_of(text.delivery_id, text.installation))}",
        }
        given = {name: value for name, value in optional.items() if value is not None}
        try:
            message = self._client.messages.create(
                to=text.to_phone,
                body=text.body,
                validity_period=validity,
                **given,
            )
        except TwilioRestException as error:
            return of_error(error.status, error.code, str(error.msg), self._hidden(text))
        except TwilioServiceException as error:
            return of_error(error.status, error.code, f"{error.title} {error.detail or ''}", self._hidden(text))
        except (requests.RequestException, TwilioException, ValueError) as error:
            return _without_answer(error)
        return Outcome(OutcomeClass.SENT, message.sid)

    def _hidden(self, text: Text) -> tuple[str | None, ...]:
        return (text.to_phone, text.body, self._access.auth_token, self._access.from_number)


def _callback_url(base_url: str | None) -> str | None:
    """Twilio refuses a callback that it could never reach, and the text with it."""
    if base_url is None:
        return None
    host = urlsplit(base_url).hostname or ""
    return base_url.rstrip("/") + CALLBACK_PATH if "." in host and not host.startswith("127.") else None


def _too_late(text: Text) -> Outcome:
    return Outcome(
        OutcomeClass.PERMANENT,
        error_class="validity_over",
        detail=f"the text of delivery {text.delivery_id} was valid until {text.valid_until}; it was not sent",
    )


def _without_answer(error: Exception) -> Outcome:
    if never_left(error):
        return unreachable("Twilio", name_of(error))
    return Outcome(
        OutcomeClass.UNKNOWN,
        error_class=name_of(error),
        detail="Twilio may have taken the text: the connection broke, or fell silent, before a readable answer came",
    )
