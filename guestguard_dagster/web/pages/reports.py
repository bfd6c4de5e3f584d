"""Delivery reports, for operators: each is a page of its own, as it was written."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from starlette.responses import HTMLResponse

from guestguard_dagster.storage.statistics.reports import ReportRepo
from guestguard_dagster.web.access import AppServices, SignedIn
from guestguard_dagster.web.pages.host import PageRoute
from guestguard_dagster.web.problems import ApiProblem

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/reports/{report_id}", name="page_of_report")
def report(
    caller: SignedIn, services: AppServices, report_id: Annotated[UUID, Path(description="the report's id")]
) -> HTMLResponse:
    """What reports and alerts link to. Raises ApiProblem 403 for those who are no operators."""
    if not caller.is_operator:
        raise ApiProblem(403, "operators_only", "delivery reports are for operators")
    return HTMLResponse(ReportRepo(services.database).get(report_id).html)
