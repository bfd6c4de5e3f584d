"""The payload of an event on NATS, as the Go services publish it, and how the values in it are read.

They write snake_case JSON, RFC 3339 with nanoseconds, Go's zero time for "no date", null lists, and whole numbers that
may be floats; unknown fields are ignored.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError

from guestguard_dagster.domain.addresses import email_as_kept
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.plain_text import clean_value

_NO_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Identity:
    """Two events of a type with the same `key` are one, if no more than `window` lies between them; None: for ever."""

    key: str
    window: timedelta | None

    def is_shared_by(self, mine: datetime, other: datetime) -> bool:
        """Whether events with this key, stored at these instants, are the same event."""
        return self.window is None or abs(mine - other) <= self.window


@dataclass(frozen=True, slots=True)
class Answered:
    """What a guest answered, and when (UTC)."""

    at: datetime
    response: RsvpStatus
    plus_ones: int

    def differs_from(self, other: "Answered") -> bool:
        return (self.response, self.plus_ones) != (other.response, other.plus_ones)


class PayloadRefused(ValueError):
    """A payload that can never work; the text says which field and why, and quotes no value."""


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _instant(moment: datetime | None) -> datetime | None:
    """In UTC; None for Go's zero time, the first instant of the year 1."""
    if moment is None or moment.year == 1:
        return None
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies beyond the year 9999") from None
    return None if moment.year == 1 else moment


def _no_zero_id(value: object) -> object:
    return None if value in (None, "", str(_NO_ID)) else value


def one_line(limit: int) -> Any:
    """A text of one harmless line, cut where it is longer; null is an empty one."""

    def read(value: object) -> object:
        if value is None:
            return ""
        return clean_value(value, limit) if isinstance(value, str) else value

    return BeforeValidator(read)


def kept_email(address: str) -> str:
    """In its canonical form; what is no address is refused when its mail is handed off."""
    return email_as_kept(address) or ""


def text_of_number(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def zero_for_null(value: object) -> object:
    return 0 if value is None else value


def _known_id(value: UUID) -> UUID:
    if value == _NO_ID:
        raise ValueError("must not be the zero id")
    return value


def web_address(value: object) -> object:
    """The address of a page, or None for anything else: no other scheme belongs into a mail."""
    if not isinstance(value, str):
        return None
    address = value.strip()
    is_web = address.lower().startswith(("http://", "https://")) and address.partition("://")[2] != ""
    return address if is_web and address.isprintable() and " " not in address else None


def go_time(moment: datetime) -> str:
    """As Go writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


GoTime = Annotated[AwareDatetime | None, BeforeValidator(_none_if_empty), AfterValidator(_instant)]
KnownId = Annotated[UUID, AfterValidator(_known_id)]
OptionalId = Annotated[UUID | None, BeforeValidator(_no_zero_id)]


class Payload(BaseModel):
    """What every payload has in common. Unknown fields are ignored, and no error quotes a value."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    guest_id: OptionalId = None
    event_id: OptionalId = None

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Raises PayloadRefused."""
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            raise PayloadRefused("the payload is not JSON") from None
        if not isinstance(content, dict):
            raise PayloadRefused("the payload is not a JSON object")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = {f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors(include_input=False)}
            raise PayloadRefused("; ".join(sorted(problems))) from None

    def identity(self, message_id: str | None) -> Identity:
        """What makes another event the same as this one; `message_id` is its Nats-Msg-Id."""
        raise NotImplementedError

    def answered(self, published_at: datetime) -> Answered | None:
        """The guest's answer that it tells of, to be written down with it; None if it tells of none."""

    def given_address(self) -> str:
        """The guest's address, where the event gives one."""
        return ""

    def digest(self) -> str:
        """The same for two payloads that say the same."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
