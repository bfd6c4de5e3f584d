"""Idempotency-Key: the first answer is given again, the request is not done again, and nobody else's key matters."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from guestguard_dagster.domain.events import CollaboratorRole, Event, User
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.operations.idempotency import IdempotencyRepo
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster_tests.factories import make_user
from guestguard_dagster_tests.web.conftest import ClientOf

_DRAFT = {"mode": "draft", "subject": "Hello", "body": "Hi {{guest_name}}"}


def _post(client: TestClient, event: Event, key: str, **changed: Any) -> Any:
    return client.post(f"/events/{event.id}/messages", json={**_DRAFT, **changed}, headers={"Idempotency-Key": key})


def _messages(database: Database, event: Event) -> int:
    return len(MessageRepo(database).list_by_event(event.id))


def test_a_repeat_is_answered_as_before_and_not_done_again(
    client: TestClient, database: Database, event: Event
) -> None:
    first, second = (_post(client, event, "k-1") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert _messages(database, event) == 1


def test_of_many_at_once_one_is_done(client_of: ClientOf, host: User, database: Database, event: Event) -> None:
    clients = [client_of(host) for _ in range(8)]
    with ThreadPoolExecutor(len(clients)) as threads:
        answers = list(threads.map(lambda client: _post(client, event, "k-1"), clients))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.json().get("code") for answer in answers if answer.status_code == 409} <= {"unanswered"}
    assert _messages(database, event) == 1


def test_the_same_key_for_another_request_is_refused(client: TestClient, database: Database, event: Event) -> None:
    _post(client, event, "k-1")
    refused = _post(client, event, "k-1", subject="Other")
    assert (refused.status_code, refused.json()["code"]) == (422, "key_reused")
    elsewhere = client.post(f"/events/{event.id}/cancel", headers={"Idempotency-Key": "k-1"})
    assert elsewhere.json()["code"] == "key_reused"
    assert _messages(database, event) == 1


def test_a_key_is_of_one_user(client: TestClient, client_of: ClientOf, database: Database, event: Event) -> None:
    other = make_user(database)
    EventRepo(database).add_collaborator(event.id, other.id, CollaboratorRole.EDITOR)
    assert _post(client, event, "k-1").json()["id"] != _post(client_of(other), event, "k-1").json()["id"]


def test_a_refused_request_may_be_put_right_under_its_key(client: TestClient, database: Database, event: Event) -> None:
    assert _post(client, event, "k-1", body="{{nonsense}}").status_code == 422
    assert _post(client, event, "k-1").status_code == 201
    assert _messages(database, event) == 1


def test_a_request_that_died_in_the_middle_is_not_done_again_by_its_key(
    client: TestClient, database: Database, event: Event
) -> None:
    _post(client, event, "k-1")
    with database.transaction() as connection:
        connection.execute(text("UPDATE idempotency_keys SET status = NULL, body = NULL"))
    unanswered = _post(client, event, "k-1")
    assert (unanswered.status_code, unanswered.json()["code"]) == (409, "unanswered")
    assert _messages(database, event) == 1


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_a_key_that_is_none_is_refused(client: TestClient, event: Event, key: str) -> None:
    assert _post(client, event, key).status_code == 422


def test_old_keys_are_forgotten_and_free_again(client: TestClient, database: Database, event: Event) -> None:
    first = _post(client, event, "k-1").json()
    with database.transaction() as connection:
        connection.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '3 days'"))
    assert _post(client, event, "k-1").json()["id"] != first["id"]
    with database.transaction() as connection:
        connection.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '3 days'"))
    assert IdempotencyRepo(database).forget_old() == 1


def test_without_signing_in_no_key_is_kept(anonymous: TestClient, database: Database, event: Event) -> None:
    assert _post(anonymous, event, "k-1").status_code == 401
    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM idempotency_keys")).scalar_one() == 0
