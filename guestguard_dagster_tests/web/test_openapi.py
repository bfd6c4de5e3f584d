"""The OpenAPI document is the truth: whatever is sent, the answer is one that it describes, and no failure of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import User
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.local.ports import listen
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.web import limits
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message
from guestguard_dagster_tests.web.conftest import bearer_token

_EXAMPLES = 12
_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# No rate limit: what is asked for too often says the same every time.
_UNLIMITED = 1e6


@contextmanager
def _served(app: FastAPI) -> Iterator[str]:
    """The application behind a real server on a port of its own; yields its address."""
    listener = listen(0, wanted_by="the web application")
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def _real_ids(database: Database, owner: User) -> dict[str, UUID | str]:
    """What a path may name: an event with a guest and a message that was sent to them."""
    event = make_event(database, owner=owner)
    guests = make_guests(database, event, 3)
    message = make_message(database, event, status=MessageStatus.SENT)
    make_deliveries(database, message, guests, status=DeliveryStatus.FAILED, retryable=True)
    return {
        "event_id": event.id,
        "message_id": message.id,
        "guest_id": guests[0].id,
        "user_id": owner.id,
        "rsvp_token": guests[1].rsvp_token,
        "unsubscribe_token": uuid4().hex,
    }


@pytest.mark.timeout(900)
def test_every_answer_is_one_that_the_document_describes(
    app: FastAPI, settings: Settings, database: Database, host: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_WRITES_PER_SECOND", "_TESTS_PER_SECOND", "_ANSWERS_PER_SECOND"):
        monkeypatch.setattr(limits, name, _UNLIMITED)
    headers = {"Authorization": f"Bearer {bearer_token(settings, host)}"}
    schema = schemathesis.openapi.from_dict(app.openapi())
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 40
    unspoilable: set[str] = set()
    with _served(app) as address:
        for operation in operations:
            ids = _real_ids(database, host)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                try:
                    _try(operation.as_strategy(generation_mode=mode), ids, address, headers)
                except Unsatisfiable:
                    assert mode is GenerationMode.NEGATIVE, operation.label
                    unspoilable.add(operation.label)
    assert unspoilable == {"GET /healthz", "GET /readyz"}, "what takes no input cannot be given a wrong one"


def _try(
    cases: st.SearchStrategy[Case[Any]], ids: dict[str, UUID | str], address: str, headers: dict[str, str]
) -> None:
    @given(case=cases, is_real=st.booleans())
    @settings_of_test
    def run(case: Case[Any], is_real: bool) -> None:
        if is_real:
            case.path_parameters = {
                name: str(ids.get(name, value)) for name, value in (case.path_parameters or {}).items()
            }
        case.call_and_validate(base_url=address, headers=headers, checks=_CHECKS)

    run()


settings_of_test = settings(
    max_examples=_EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
