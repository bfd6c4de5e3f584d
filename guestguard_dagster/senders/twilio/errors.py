"""What Twilio's error codes mean (https://www.twilio.com/docs/api/errors). No I/O."""

from datetime import timedelta

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.domain.suppressions import SuppressionReason
from guestguard_dagster.senders.http_session import RATE_WAIT
from guestguard_dagster.senders.scrub import scrub

OPTED_OUT = 21610

# The key, the account, the sender or our own address for callbacks: the same for every recipient.
_ABOUT_THE_ACCOUNT = frozenset(
    {
        *(10001, 20003, 20004, 20005, 20006, 20008, 20403, 20404, 30002, 90010),  # credentials, suspension
        *(21210, 21212, 21601, 21603, 21660, 21661),  # the From number
        *(21701, 21703, 21704, 21705, 21712),  # the messaging service
        *(21609, 21626),  # the status callback
    }
)
# The same for every recipient, or for those of one country, network or number: the code does not say which.
_SENDER_AND_RECIPIENT = frozenset(
    {
        *(21606, 21659),  # no number of ours, or a short code of another country than the recipient's
        *(21612, 21657),  # this sender cannot reach this recipient, or is not allowed there
        *(30024, 30032, 30034),  # a sender that is not registered with the carriers of one country
        *(21219, 21608),  # a trial account, and a recipient that it has not verified
    }
)
_LIMITS_OF_HOURS = {
    63038: timedelta(hours=1),  # daily limit, a rolling window
    30023: timedelta(hours=1),  # daily limit of the carriers
    60728: timedelta(minutes=15),  # hourly limit
}
_NOT_NOW = {
    14107: RATE_WAIT,  # rate limit
    20429: RATE_WAIT,  # too many concurrent requests
    30022: timedelta(seconds=5),  # rate limit of the carriers
    63017: RATE_WAIT,  # rate limit of the account
    21611: timedelta(seconds=60),  # the From number's queue is full
    30001: timedelta(seconds=60),  # the queue overflowed
    21730: timedelta(seconds=60),  # maintenance
}


def of_error(status: int, code: int | None, message: str, hide: tuple[str | None, ...] = ()) -> Outcome:
    """The outcome of a text that Twilio answered with an error: HTTP `status`, Twilio's `code`, its words."""
    outcome, wait = _verdict(status, code)
    return Outcome(
        outcome,
        error_class="TwilioRestException",
        error_code=str(code or status),
        detail=f"Twilio answered {status}, error {code or 'unnamed'}: {scrub(message, hide)}",
        retry_after=wait,
        suppress=SuppressionReason.STOP if code == OPTED_OUT else None,
        may_be_recipient=code in _SENDER_AND_RECIPIENT,
    )


def _verdict(status: int, code: int | None) -> tuple[OutcomeClass, timedelta | None]:
    if code in _LIMITS_OF_HOURS:
        return OutcomeClass.PROVIDER_WIDE, _LIMITS_OF_HOURS[code]
    if code in _NOT_NOW:
        return OutcomeClass.UNAVAILABLE, _NOT_NOW[code]
    if code in _ABOUT_THE_ACCOUNT or code in _SENDER_AND_RECIPIENT:
        return OutcomeClass.PROVIDER_WIDE, None
    # "An API request that receives a 429 is never processed", say Twilio's docs; of a 5xx they say no such thing.
    if status == 429:
        return OutcomeClass.UNAVAILABLE, RATE_WAIT
    if status >= 500 or status == 408:
        return OutcomeClass.UNKNOWN, None
    if status in {401, 403, 404}:
        return OutcomeClass.PROVIDER_WIDE, None
    return OutcomeClass.PERMANENT, None
