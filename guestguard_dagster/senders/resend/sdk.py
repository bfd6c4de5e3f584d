"""The Resend SDK, tamed: its settings are globals of the module, ours belong to an account.

The SDK builds headers and reads answers; its HTTP client, replaced once for the process, sends for the account whose
call is under way in this context: that account's key, address and session, and the exact bytes fixed beforehand.
"""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import requests
import resend
from requests.auth import AuthBase

from guestguard_dagster.senders.http_session import HTTP_TIMEOUTS, keep_alive_session

BATCH_ENDPOINT = "/emails/batch"
SINGLE_ENDPOINT = "/emails"


@dataclass(frozen=True, slots=True)
class ResendAccount:
    """One API key. `session` keeps the connections."""

    api_key: str = field(repr=False)
    base_url: str
    timeouts: tuple[float, float] = HTTP_TIMEOUTS
    session: requests.Session = field(default_factory=keep_alive_session, repr=False)

    def post(self, endpoint: str, body: bytes, idempotency_key: str) -> Mapping[str, Any]:
        """Send exactly `body`; the answer's JSON object.

        Raises resend.exceptions.ResendError for a refusal, and for transport errors with the real one as
        `__context__` (the SDK calls all of those HttpClientError, code 500).
        """
        current = _account_and_body.set((self, body))
        try:
            if endpoint == BATCH_ENDPOINT:
                # The SDK would only pass the mails on, to the client below that sends `body`: no need to parse them.
                return resend.Batch.send([], {"idempotency_key": idempotency_key, "batch_validation": "permissive"})
            return resend.Emails.send(json.loads(body), {"idempotency_key": idempotency_key})
        finally:
            _account_and_body.reset(current)


_account_and_body: ContextVar[tuple[ResendAccount, bytes]] = ContextVar("resend_account_and_body")


class _AccountsHttpClient(resend.HTTPClient):
    """Sends for the account of the current call, whatever the SDK's globals say."""

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: dict[str, object] | list[object] | None = None,  # noqa: ARG002 - `body` is the same, byte for byte
        files: dict[str, Any] | None = None,  # noqa: ARG002
        data: dict[str, str] | None = None,  # noqa: ARG002
    ) -> tuple[bytes, int, Mapping[str, str]]:
        account, body = _account_and_body.get()
        response = account.session.request(
            method,
            account.base_url.rstrip("/") + url.removeprefix(resend.api_url),
            headers={**headers, "Content-Type": "application/json"},
            data=body,
            auth=_Bearer(account.api_key),
            timeout=account.timeouts,
            allow_redirects=False,
        )
        return response.content, response.status_code, response.headers


class _Bearer(AuthBase):
    """As `auth`, so that no .netrc entry takes the header's place."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


resend.default_http_client = _AccountsHttpClient()
