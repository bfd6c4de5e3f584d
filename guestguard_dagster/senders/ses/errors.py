"""What SES v2 and botocore answer, by error code, and what never left. No I/O."""

import re
import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.http_session import RATE_WAIT, unreachable, wished_wait
from guestguard_dagster.senders.scrub import address_parts, scrub

_ABOUT_THE_ACCOUNT = frozenset(
    {
        *("AccountSuspendedException", "SendingPausedException", "MailFromDomainNotVerifiedException"),
        *("AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch"),
        *("InvalidSignatureException", "ExpiredToken", "ExpiredTokenException", "MissingAuthenticationToken"),
        *("IncompleteSignature", "OptInRequired", "NotFoundException", "ConfigurationSetDoesNotExist"),
    }
)
_ACCOUNT_WORDS = re.compile(r"not verified|configuration set", re.IGNORECASE)
_THROTTLED = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling", "LimitExceededException"})
_DAILY_QUOTA_WORDS = re.compile(r"daily|24.hour", re.IGNORECASE)

_QUOTA_WAIT = timedelta(hours=1)

_NEVER_CONNECTED = (EndpointConnectionError, ConnectTimeoutError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)


def of_refusal(error: ClientError, *, sender: str, recipient: str) -> Outcome:
    """The outcome of a mail from `sender` to `recipient`, both addresses, that SES answered with an error."""
    response: Mapping[str, Any] = error.response
    code = str(response.get("Error", {}).get("Code", "Unknown"))
    message = str(response.get("Error", {}).get("Message", ""))
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 500))
    wait = wished_wait(metadata.get("HTTPHeaders", {}).get("retry-after"))
    outcome, retry_after = _verdict(status, code, message, wait)
    return Outcome(
        outcome,
        error_class=code,
        error_code=str(status),
        detail=f"SES answered {status} {code}: {scrub(message, address_parts(recipient))}",
        retry_after=retry_after,
        may_be_recipient=outcome is OutcomeClass.PROVIDER_WIDE and _names_only(recipient, sender, message),
    )


def of_botocore(error: BotoCoreError) -> Outcome:
    """The outcome of a mail whose request came to nothing on our side, or whose answer never came."""
    name = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        detail = "no AWS credentials were found for SES; set them as for any AWS client"
        return Outcome(OutcomeClass.PROVIDER_WIDE, error_class=name, detail=detail)
    if isinstance(error, ParamValidationError):
        detail = "SES cannot be asked to send this mail: a field has a value that it does not take"
        return Outcome(OutcomeClass.PERMANENT, error_class=name, detail=detail)
    if isinstance(error, _NEVER_CONNECTED) or _is_unverified_certificate(error):
        return unreachable("SES", name)
    detail = "SES may have taken the mail: the connection broke, or fell silent, before the answer came"
    return Outcome(OutcomeClass.UNKNOWN, error_class=name, detail=detail)


def _verdict(status: int, code: str, message: str, wait: timedelta | None) -> tuple[OutcomeClass, timedelta | None]:
    if code in _THROTTLED or status == 429:
        if _DAILY_QUOTA_WORDS.search(message):
            return OutcomeClass.PROVIDER_WIDE, max(_QUOTA_WAIT, wait or timedelta())
        return OutcomeClass.UNAVAILABLE, max(RATE_WAIT, wait or timedelta())
    if status >= 500 or status == 408:
        return OutcomeClass.UNKNOWN, wait
    if code in _ABOUT_THE_ACCOUNT or status in {401, 403, 404} or _ACCOUNT_WORDS.search(message):
        return OutcomeClass.PROVIDER_WIDE, wait
    return OutcomeClass.PERMANENT, None


def _names_only(recipient: str, sender: str, message: str) -> bool:
    """In its sandbox SES refuses recipients that are not verified, and names what it misses: them, or the sender."""
    said = message.casefold()
    return recipient.casefold() in said and sender.casefold() not in said


def _is_unverified_certificate(error: BotoCoreError) -> bool:
    """A handshake that failed so cannot have carried anything; of other TLS errors that is not certain."""
    cause: object = error.kwargs.get("error") if isinstance(error, SSLError) else None
    while isinstance(cause, Exception) and not isinstance(cause, ssl.SSLError):
        cause = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)
    return isinstance(cause, ssl.SSLCertVerificationError)
