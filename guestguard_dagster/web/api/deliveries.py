"""The recipients of a message, one by one: page by page for a screen, or all of them as a CSV file."""

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.responses import StreamingResponse

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.errors import MessageNotFound
from guestguard_dagster.web.access import AppServices, Editor, EventAccess
from guestguard_dagster.web.api.message_schemas import DeliveryOut, DeliveryPage
from guestguard_dagster.web.api.values import LARGEST_PAGE
from guestguard_dagster.web.problems import problems
from guestguard_dagster.web.services import Services

router = APIRouter(prefix="/events/{event_id}/messages/{message_id}", tags=["deliveries"])

_CSV_PAGE = 1000
_CSV_COLUMNS = tuple(DeliveryOut.model_fields)
# A spreadsheet would take a cell that begins so for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

MessageId = Annotated[UUID, Path(description="the message's id")]
Outcomes = Annotated[list[DeliveryStatus] | None, Query(description="only these; else all")]


@router.get("/deliveries", responses=problems(403, 404))
def list_deliveries(
    access: Editor,
    services: AppServices,
    message_id: MessageId,
    outcome: Outcomes = None,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 100,
) -> DeliveryPage:
    """The message's recipients and what became of each."""
    _require_of_event(services, access, message_id)
    wanted = outcome or tuple(DeliveryStatus)
    found = services.delivery_log.deliveries_of(message_id, statuses=wanted, after=after, limit=limit)
    return DeliveryPage.of(found, limit)


@router.get(
    "/deliveries.csv",
    response_class=StreamingResponse,
    responses={
        **problems(403, 404),
        200: {"description": "the file", "content": {"text/csv": {"schema": {"type": "string"}}}},
    },
)
def export_deliveries(
    access: Editor, services: AppServices, message_id: MessageId, outcome: Outcomes = None
) -> StreamingResponse:
    """All of the message's recipients as a CSV file."""
    _require_of_event(services, access, message_id)
    lines = _csv_lines(services, message_id, outcome or tuple(DeliveryStatus))
    headers = {"Content-Disposition": f'attachment; filename="deliveries-{message_id}.csv"'}
    return StreamingResponse(lines, media_type="text/csv", headers=headers)


def _csv_lines(services: Services, message_id: UUID, statuses: Collection[DeliveryStatus]) -> Iterator[str]:
    yield _csv_text([_CSV_COLUMNS])
    after = 0
    while page := services.delivery_log.deliveries_of(message_id, statuses=statuses, after=after, limit=_CSV_PAGE):
        yield _csv_text([_cell(getattr(record, name)) for name in _CSV_COLUMNS] for record in page)
        after = page[-1].delivery_id


def _csv_text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: object) -> str:
    """A cell's text; a spreadsheet never takes it for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _require_of_event(services: Services, access: EventAccess, message_id: UUID) -> None:
    if services.messages.get(message_id).event_id != access.event.id:
        raise MessageNotFound(message_id)
