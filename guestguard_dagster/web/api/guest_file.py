"""Guest lists as CSV files: every line is read before any guest is added, and every bad one is told."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from guestguard_dagster.domain.addresses import email_key
from guestguard_dagster.domain.events import GuestDraft, RsvpStatus
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.web.api.values import Email, PersonName
from guestguard_dagster.web.problems import ApiProblem, FieldProblem

MOST_GUESTS = 20_000
_MOST_PROBLEMS_TOLD = 200
_DELIMITERS = ",;\t"

_COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("name", "guest", "guest name", "full name"), "name"),
    **dict.fromkeys(("email", "e-mail", "mail", "email address", "e-mail address"), "email"),
    **dict.fromkeys(("phone", "mobile", "phone number", "mobile number"), "phone"),
    **dict.fromkeys(("rsvp", "status", "rsvp status"), "rsvp_status"),
}

_name: TypeAdapter[str] = TypeAdapter(PersonName)
_email: TypeAdapter[str] = TypeAdapter(Email)


class _Refused(ValueError):
    """Why a cell cannot be used."""


@dataclass(frozen=True, slots=True)
class GuestFile:
    """What a file says. `ignored_columns` are its headings that mean nothing here."""

    drafts: list[GuestDraft]
    ignored_columns: list[str]


def read_guest_file(content: bytes, region: str | None) -> GuestFile:
    """The guests of a CSV file with a heading line; `region` reads phone numbers without a country code.

    Raises ApiProblem 422 with every line and column that cannot be used.
    """
    rows = _rows(content)
    _, headings = next(rows, (1, []))
    columns = [_COLUMNS.get(heading.strip().casefold()) for heading in headings]
    _check_headings(columns)
    ignored = [heading.strip() for heading, column in zip(headings, columns, strict=True) if column is None]
    drafts: list[GuestDraft] = []
    problems: list[FieldProblem] = []
    seen: dict[str, int] = {}
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(drafts) + len(problems) >= MOST_GUESTS:
            raise _refusal(f"the file has more than {MOST_GUESTS:,} guests; split it", [])
        if len(cells) > len(headings):
            problems.append(
                FieldProblem(
                    field="line", line=line, message="has more cells than the heading; put quotes around commas"
                )
            )
            continue
        values = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if column}
        found = _problems_of(values, line, region, seen)
        problems += found
        if not found:
            drafts.append(_draft(values, region))
    if problems:
        raise _refusal(f"{len(problems)} entries cannot be used; nothing was imported", problems)
    if not drafts:
        raise _refusal("the file has a heading and no guests", [])
    return GuestFile(drafts, ignored)


def _rows(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """The rows with the line that each begins in."""
    text = _text(content)
    if "\x00" in text:
        raise _refusal("the file is not text; save it as CSV", [])
    heading = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        problem = FieldProblem(field="line", line=line, message=f"cannot be read as CSV: {error}")
        raise _refusal("the file cannot be read as CSV; nothing was imported", [problem]) from None


def _text(content: bytes) -> str:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise _refusal("the file is not UTF-8; save it as “CSV UTF-8”", []) from None


def _check_headings(columns: list[str | None]) -> None:
    known = [column for column in columns if column]
    if "name" not in known:
        raise _refusal("the first line must name the columns: name, and email, phone or rsvp", [])
    twice = sorted({column for column in known if known.count(column) > 1})
    if twice:
        raise _refusal(f"there is more than one column for {', '.join(twice)}", [])


def _problems_of(values: Mapping[str, str], line: int, region: str | None, seen: dict[str, int]) -> list[FieldProblem]:
    found = []
    for field, check in (("name", _check_name), ("email", _check_email), ("rsvp_status", _rsvp_status)):
        try:
            check(values.get(field, ""))
        except _Refused as problem:
            found.append(FieldProblem(field=field, line=line, message=str(problem)))
    phone = values.get("phone")
    if phone and to_e164(phone, region) is None:
        hint = "" if region else " with its country code, such as +49 171 1234567"
        found.append(FieldProblem(field="phone", line=line, message=f"is not a phone number{hint}"))
    if email := values.get("email"):
        first = seen.setdefault(email_key(email), line)
        if first != line:
            found.append(FieldProblem(field="email", line=line, message=f"is the same as in line {first}"))
    return found


def _check_name(name: str) -> None:
    _validated(_name, name)


def _check_email(email: str) -> None:
    if email:
        _validated(_email, email)


def _validated(kind: TypeAdapter[str], text: str) -> str:
    try:
        return kind.validate_python(text)
    except ValidationError as error:
        raise _Refused(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _rsvp_status(text: str) -> RsvpStatus:
    known = {"": "pending", "yes": "attending", "no": "declined", "invited": "pending", "no response": "pending"}
    said = text.casefold()
    try:
        return RsvpStatus(known.get(said, said))
    except ValueError:
        raise _Refused("must be pending, attending, declined or maybe") from None


def _draft(values: Mapping[str, str], region: str | None) -> GuestDraft:
    phone = values.get("phone")
    return GuestDraft(
        name=_validated(_name, values["name"]),
        email=values.get("email") or None,
        phone=to_e164(phone, region) if phone else None,
        rsvp_status=_rsvp_status(values.get("rsvp_status", "")),
    )


def _refusal(detail: str, problems: list[FieldProblem]) -> ApiProblem:
    return ApiProblem(422, "guest_file_refused", detail, errors=problems[:_MOST_PROBLEMS_TOLD])
