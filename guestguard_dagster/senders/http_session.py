"""The HTTP session under the SDKs: kept connections, timeouts always, and certainty about what never left."""

from datetime import timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError, ProtocolError

from guestguard_dagster.clock import in_utc, utc_now
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass

# Seconds: to connect, and between two bytes of the answer.
HTTP_TIMEOUTS = (5.0, 30.0)

# How long to wait after "too many requests" without a wish of the provider's own.
RATE_WAIT = timedelta(seconds=1)

_CONNECTIONS_KEPT = 10
_UNREACHABLE_WAIT = timedelta(seconds=5)


def keep_alive_session() -> requests.Session:
    """A session that keeps its connections, keeps no cookies and never repeats a request by itself."""
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(pool_maxsize=_CONNECTIONS_KEPT, max_retries=0))
    return session


def never_left(error: BaseException | None) -> bool:
    """Whether the request behind `error` certainly never left: no connection was made (DNS, refused, TLS, timeout)."""
    if isinstance(error, InvalidURL | InvalidSchema | MissingSchema):
        return True
    reason = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(reason, MaxRetryError) and isinstance(reason.reason, ConnectTimeoutError)


def unreachable(provider: str, error_class: str) -> Outcome:
    """The outcome where no connection could be made: nothing left, and no recipient is to blame."""
    return Outcome(
        OutcomeClass.UNAVAILABLE,
        error_class=error_class,
        detail=f"no connection to {provider} could be made; nothing left",
        retry_after=_UNREACHABLE_WAIT,
    )


def name_of(error: BaseException | None) -> str:
    """The class of the real cause, e.g. ConnectionRefusedError, SSLCertVerificationError, ReadTimeout."""
    cause = error
    if isinstance(error, requests.ConnectionError) and error.args and isinstance(error.args[0], Exception):
        cause = error.args[0]
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    if isinstance(cause, ProtocolError) and isinstance(cause.args[-1], Exception):
        cause = cause.args[-1]
    elif isinstance(cause, HTTPError) and cause.__cause__ is not None:
        cause = cause.__cause__
    return type(cause).__name__


def wished_wait(retry_after: str | None) -> timedelta | None:
    """What a Retry-After header asks for, in seconds or as a date; None when it says neither."""
    if not retry_after:
        return None
    try:
        return timedelta(seconds=max(0.0, min(float(retry_after), 7 * 86400)))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(in_utc(until) - utc_now(), timedelta())


class _Connection(HTTPConnection):
    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error


class _TlsConnection(HTTPSConnection):
    """urllib3 tells a refused connection apart, but not a TLS handshake that failed: nothing left then either."""

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
