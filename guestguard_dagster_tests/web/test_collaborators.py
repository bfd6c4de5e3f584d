"""Who works on an event: added by address, changed and removed by the owner, who stays the owner."""

from starlette.testclient import TestClient

from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.factories import make_user
from guestguard_dagster_tests.web.conftest import ClientOf


def test_a_collaborator_is_added_changed_and_removed(
    client: TestClient, client_of: ClientOf, database: Database, event: Event
) -> None:
    address = f"/events/{event.id}/collaborators"
    person = make_user(database, name="Edda Editor", email="edda@example.com")
    added = client.post(address, json={"email": "EDDA@example.com"})
    assert (added.status_code, added.json()["name"], added.json()["role"]) == (201, "Edda Editor", "editor")
    assert client_of(person).get(f"/events/{event.id}").json()["role"] == "editor"

    changed = client.patch(f"{address}/{person.id}", json={"role": "viewer"})
    assert changed.json()["role"] == "viewer"
    assert client_of(person).get(f"/events/{event.id}/guests").status_code == 403

    left = client.delete(f"{address}/{person.id}").json()["items"]
    assert [each["role"] for each in left] == ["owner"]
    assert client_of(person).get(f"/events/{event.id}").status_code == 404


def test_somebody_new_is_named_by_their_address(client: TestClient, event: Event) -> None:
    added = client.post(f"/events/{event.id}/collaborators", json={"email": "new.person@example.com", "role": "viewer"})
    assert added.json()["name"] == "new.person"


def test_the_owner_stays_the_owner(client: TestClient, host: User, event: Event) -> None:
    address = f"/events/{event.id}/collaborators"
    attempts = [
        client.patch(f"{address}/{host.id}", json={"role": "viewer"}),
        client.delete(f"{address}/{host.id}"),
        client.post(address, json={"email": host.email, "role": "viewer"}),
    ]
    assert [attempt.status_code for attempt in attempts] == [409, 409, 409]
    assert client.post(address, json={"email": "second@example.com", "role": "owner"}).status_code == 422
    assert client.get(f"/events/{event.id}").json()["role"] == "owner"


def test_what_is_no_address_is_refused_and_somebody_unknown_is_not_found(client: TestClient, event: Event) -> None:
    address = f"/events/{event.id}/collaborators"
    assert client.post(address, json={"email": "nobody"}).status_code == 422
    assert client.delete(f"{address}/00000000-0000-4000-8000-000000000000").status_code == 404
