"""The payload of an event on NATS, as the Go services publish it, and how the values in it are read.

They write snake_case JSON, RFC 3339 with nanoseconds, Go's zero time for "no date", null lists, and whole numbers that
may be floats; unknown fields are ignored.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError

from guestguard_dagster.domain.addresses import email_as_kept
from guestguard_dagster.domain.plain_text import clean_value

_NO_ID = UUID(int=0)


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


GoTime = Annotated[AwareDatetime | None, BeforeValidator(_none_if_empty), AfterValidator(_instant)]
KnownId = Annotated[UUID, AfterValidator(_known_id)]
OptionalId = Annotated[UUID | None, BeforeValidator(_no_zero_id)]


class Payload(BaseModel):
    """What every payload has in common. Unknown fields are ignored, and no error quotes a value."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

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

    def digest(self) -> str:
        """The same for two payloads that say the same."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
