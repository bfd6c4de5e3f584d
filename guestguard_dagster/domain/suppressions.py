"""Suppressions: addresses that are not to be written to, and how far that reaches."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from guestguard_dagster.domain.messages import MessageChannel

EVERY_HOST = "all"


def for_host(user_id: UUID) -> str:
    """The scope of one host's events: what an unsubscribe covers."""
    return f"host:{user_id}"


def for_sending_number(number: str) -> str:
    """The scope of one sending number (E.164): what a STOP covers."""
    return f"number:{number}"


class SuppressionReason(StrEnum):
    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    STOP = "stop"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Suppression:
    """One row of suppressions. `scope` is EVERY_HOST, `for_host(...)` or `for_sending_number(...)`.

    `address` is an `addresses.email_key` or, for SMS, E.164. `reason` is a SuppressionReason, or a provider's own word
    for one. `source` names who told us, e.g. `resend` or `operator`.
    """

    id: UUID
    channel: MessageChannel
    address: str = field(repr=False)
    scope: str = field(repr=False)
    reason: str
    source: str
    created_at: datetime
    lifted_at: datetime | None
