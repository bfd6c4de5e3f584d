"""Whether this process lives, and whether it can do its work: for those who run it."""

from fastapi import APIRouter
from pydantic import BaseModel

from guestguard_dagster.storage.migrate import current_revision, newest_revision
from guestguard_dagster.web.access import AppServices
from guestguard_dagster.web.problems import ApiProblem, public_problems

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str = "ok"


@router.get("/healthz")
def is_alive() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", responses=public_problems())
def is_ready(services: AppServices) -> Health:
    """The database can be reached, and has the tables that this code needs."""
    services.database.now()
    found, needed = current_revision(services.database), newest_revision()
    if found != needed:
        raise ApiProblem(
            503, "not_migrated", f"the database is at version {found}, this needs {needed}: run `guestguard migrate`"
        )
    return Health()
