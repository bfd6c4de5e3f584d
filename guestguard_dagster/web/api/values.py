"""Values as the API takes them: bounded, storable, and in a form that every clock understands."""

import re
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from guestguard_dagster.domain.addresses import AddressInvalid, canonical_email
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.domain.placeholders import LONGEST_EMAIL_BODY
from guestguard_dagster.domain.plain_text import EVENT_NAME_LIMIT, GUEST_NAME_LIMIT, VENUE_LIMIT, clean_value

LARGEST_PAGE = 200
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Body(BaseModel):
    """What is sent to us: a field that is not known is a mistake, not something to ignore."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """What we answer with. It is made of an object of ours by the names of its fields: see `model_validate`."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def made_of(cls, source: object, **others: object) -> Self:
        """Of `source`, and of `others` for the fields that it does not have."""
        names = cls.model_fields.keys() - others.keys()
        return cls.model_validate({name: getattr(source, name) for name in names} | others)


def _within_the_century(moment: datetime) -> datetime:
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("must lie between the years 2000 and 2100")
    return moment.astimezone(UTC)


def storable(text: str) -> str:
    """Raises ValueError for what no database keeps as text."""
    if _UNSTORABLE.search(text):
        raise ValueError("has characters that are no text; type it anew")
    return text


def _one_line(limit: int) -> object:
    def clean(text: str) -> str:
        cleaned = clean_value(storable(text), limit)
        if not cleaned:
            raise ValueError("must not be empty")
        return cleaned

    return AfterValidator(clean)


def _email(text: str) -> str:
    try:
        return canonical_email(storable(text))
    except AddressInvalid as problem:
        raise ValueError(str(problem)) from None


def _phone(text: str) -> str:
    number = to_e164(text, None)
    if number is None:
        raise ValueError("must be an international phone number, such as +49 171 1234567")
    return number


def _none_if_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


Instant = Annotated[AwareDatetime, AfterValidator(_within_the_century)]
PersonName = Annotated[str, Field(max_length=4 * GUEST_NAME_LIMIT), _one_line(GUEST_NAME_LIMIT)]
EventName = Annotated[str, Field(max_length=4 * EVENT_NAME_LIMIT), _one_line(EVENT_NAME_LIMIT)]
Venue = Annotated[str, Field(max_length=4 * VENUE_LIMIT), AfterValidator(storable)]
Email = Annotated[str, Field(max_length=320), AfterValidator(_email)]
Phone = Annotated[str, Field(max_length=40), AfterValidator(_phone)]
# What is in them is checked by the rules of templates, which know line and reason.
Subject = Annotated[str, Field(max_length=1_000)]
TemplateBody = Annotated[str, Field(max_length=2 * LONGEST_EMAIL_BODY)]
OptionalText = Annotated[str | None, BeforeValidator(_none_if_blank)]
