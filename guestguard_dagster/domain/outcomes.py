"""What a provider's answer means for one recipient. Every answer is one of these classes, nothing else."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class OutcomeClass(StrEnum):
    SENT = "sent"  # the provider took it
    PERMANENT = "permanent"  # this recipient will never take this mail
    TRANSIENT = "transient"  # this recipient is not taken now; trying again for some hours may help
    PROVIDER_WIDE = "provider_wide"  # nothing of this account will be taken: bad key, quota, suspended, domain
    UNAVAILABLE = "unavailable"  # no session, or a limit of the server: nothing left, and it is about no recipient
    UNKNOWN = "unknown"  # it may have left: the answer never came
    DRY_RUN = "dry_run"  # the log backend looked at it; nothing left


# What counts as an attempt to reach a recipient, and is recorded as one.
ATTEMPT_OUTCOMES = tuple(each for each in OutcomeClass if each is not OutcomeClass.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recipient's result of one hand-off.

    `error_class` is the exception's or API error's own name (`SMTPServerDisconnected`, `validation_error`) and
    `error_code` the status that came with it (`550`, `422`). `detail` is a sentence for operators, without address,
    body or secret. `retry_after` is the provider's own wish. `suppress` asks to suppress the address (hard bounce,
    opt-out) under that reason. `may_be_recipient` says of a provider-wide answer that it may as well be about this
    recipient alone: where others of the batch were accepted, it is.
    """

    outcome: OutcomeClass
    provider_message_id: str | None = None
    error_class: str | None = None
    error_code: str | None = None
    detail: str | None = None
    retry_after: timedelta | None = None
    suppress: str | None = None
    duration_ms: int = 0
    may_be_recipient: bool = False
