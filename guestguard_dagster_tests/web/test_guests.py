"""Guests over HTTP: files are taken whole or not at all, and a guest's history is complete."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import MessageKind
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.factories import make_deliveries, make_guests, make_message, set_columns


def _import(client: TestClient, event: Event, content: str | bytes) -> Any:
    return client.post(f"/events/{event.id}/guests/import", content=content, headers={"Content-Type": "text/csv"})


def _names(client: TestClient, event: Event) -> list[str]:
    return [guest["name"] for guest in client.get(f"/events/{event.id}/guests").json()["items"]]


def test_a_file_is_imported_whatever_its_delimiter_and_headings(
    client: TestClient, database: Database, event: Event
) -> None:
    set_columns(database, event, phone_region="DE")
    files: list[str | bytes] = [
        "name,email,phone,rsvp\nAda,ada@example.com,0171 1234567,yes\n\n",
        "\ufeffFull Name;E-Mail;Table\r\nBen;ben@example.com;4\r\n",
        "Guest\tMobile\nCem\t+44 20 7946 0958\n".encode("utf-16"),
        'name,email\n"Doe, Dana\n(and guest)",dana@example.com\n',
    ]
    answers = [_import(client, event, file) for file in files]
    assert [answer.status_code for answer in answers] == [201] * 4
    assert answers[1].json()["ignored_columns"] == ["Table"]
    guests = client.get(f"/events/{event.id}/guests").json()["items"]
    assert [(guest["name"], guest["email"], guest["phone"], guest["rsvp_status"]) for guest in guests] == [
        ("Ada", "ada@example.com", "+491711234567", "attending"),
        ("Ben", "ben@example.com", None, "pending"),
        ("Cem", None, "+442079460958", "pending"),
        ("Doe, Dana (and guest)", "dana@example.com", None, "pending"),
    ]


def test_every_bad_line_is_told_and_none_of_the_file_is_imported(client: TestClient, event: Event) -> None:
    refused = _import(
        client,
        event,
        "name,email,phone,rsvp\n"
        "Ada,ada@example.com,,\n"
        ",nobody@example.com,,\n"
        '"Ben\nsenior",not an address,12,perhaps\n'
        "Cem,ADA@example.com,,\n"
        "Dan,dan@example.com,,,,,\n",
    )
    assert refused.status_code == 422
    assert [(error["line"], error["field"]) for error in refused.json()["errors"]] == [
        (3, "name"),
        (4, "email"),
        (4, "rsvp_status"),
        (4, "phone"),
        (6, "email"),
        (7, "line"),
    ]
    assert "line 2" in refused.json()["errors"][4]["message"]
    assert _names(client, event) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"email\na@example.com\n",
        b"name,name\nA,B\n",
        b"name\n",
        b"name\n\xff\xfe\x00\x00",
        b'name\n"A',
        b"name\nA\x00\n",
    ],
)
def test_a_file_that_is_no_guest_list_is_refused(client: TestClient, event: Event, content: bytes) -> None:
    assert _import(client, event, content).status_code == 422


def test_importing_a_file_again_adds_only_who_is_new(client: TestClient, event: Event) -> None:
    _import(client, event, "name,email\nAda,ada@example.com\n")
    again = _import(client, event, "name,email\nAda L.,ADA@example.com\nBen,ben@example.com\n").json()
    assert (again["imported"], again["already_there"]) == (1, 1)
    assert _names(client, event) == ["Ada", "Ben"]


def test_two_spellings_of_one_address_are_one_guest(client: TestClient, event: Event) -> None:
    address = f"/events/{event.id}/guests"
    added = client.post(address, json={"name": "Ada", "email": "Ada@bü\u00adcher.example"})
    assert (added.status_code, added.json()["email"]) == (201, "Ada@xn--bcher-kva.example")
    assert client.post(address, json={"name": "Ada", "email": "ａda@BÜCHER.example"}).status_code == 409
    again = _import(client, event, "name,email\nAda,ada@xn--bcher-kva.example\nBen,ben@ｅxample.com\n").json()
    assert (again["imported"], again["already_there"]) == (1, 1)
    assert again["guests"][0]["email"] == "ben@example.com"
    refused = _import(client, event, "name,email\nCem,cem@bücher.example\nCem,cem@xn--bcher-kva.example\n")
    assert [(error["line"], error["message"]) for error in refused.json()["errors"]] == [
        (3, "is the same as in line 2")
    ]
    edited = client.patch(f"{address}/{added.json()['id']}", json={"email": "an\u200dna@ｅxample.com"}).json()
    assert edited["email"] == "anna@example.com"


def test_only_csv_is_a_guest_file(client: TestClient, event: Event) -> None:
    refused = client.post(f"/events/{event.id}/guests/import", json={"name": "Ada"})
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")


def test_a_guest_is_added_once_and_removed(client: TestClient, event: Event) -> None:
    address = f"/events/{event.id}/guests"
    added = client.post(address, json={"name": "Ada", "email": "ada@example.com"})
    assert added.status_code == 201
    assert client.post(address, json={"name": "Ada", "email": "Ada@Example.com"}).status_code == 409
    removed = client.delete(f"{address}/{added.json()['id']}").json()
    assert removed["removed_at"] is not None
    assert _names(client, event) == []
    assert client.post(address, json={"name": "Ada", "email": "ada@example.com"}).status_code == 201


def test_a_guests_addresses_are_corrected_and_cleared(client: TestClient, database: Database, event: Event) -> None:
    [guest] = make_guests(database, event, name="Ada")
    address = f"/events/{event.id}/guests/{guest.id}"
    corrected = client.patch(address, json={"email": "ada@example.com", "phone": "+49 171 1234567"}).json()
    assert (corrected["name"], corrected["email"], corrected["phone"]) == ("Ada", "ada@example.com", "+491711234567")
    cleared = client.patch(address, json={"email": None, "name": "Ada L."}).json()
    assert (cleared["name"], cleared["email"], cleared["phone"]) == ("Ada L.", None, "+491711234567")
    assert client.patch(address, json={"email": "nobody"}).status_code == 422


def test_no_answer_tells_a_guests_rsvp_token(client: TestClient, database: Database, event: Event) -> None:
    [guest] = make_guests(database, event)
    assert guest.rsvp_token not in client.get(f"/events/{event.id}/guests").text


def test_everything_ever_sent_to_a_guest_is_told_newest_first(
    client: TestClient, database: Database, event: Event
) -> None:
    ada, ben = make_guests(database, event, 2)
    first = make_message(database, event, kind=MessageKind.REMINDER_7_DAY)
    second = make_message(database, event)
    make_deliveries(database, first, [ada, ben], status=DeliveryStatus.BOUNCED, reason="hard_bounce")
    make_deliveries(database, second, [ada], status=DeliveryStatus.DELIVERED)
    address = f"/events/{event.id}/guests/{ada.id}/messages"
    sent = client.get(address).json()["items"]
    assert [(each["label"], each["status"], each["reason"]) for each in sent] == [
        ("Broadcast", "delivered", None),
        ("7-day reminder", "bounced", "hard_bounce"),
    ]
    page = client.get(address, params={"limit": 1}).json()
    assert client.get(address, params={"limit": 1, "after": page["next"]}).json()["items"] == sent[1:]


def test_recipients_are_read_page_by_page_by_outcome_and_as_a_file_without_formulas(
    client: TestClient, database: Database, event: Event
) -> None:
    message = make_message(database, event)
    guests = make_guests(database, event, 5)
    [evil] = make_guests(database, event, 1, name="=HYPERLINK(1)")
    make_deliveries(database, message, guests, status=DeliveryStatus.SENT)
    make_deliveries(database, message, [evil], status=DeliveryStatus.FAILED, reason="refused", error_code="550")
    address = f"/events/{event.id}/messages/{message.id}/deliveries"
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = client.get(address, params={"limit": 2, "after": after, "outcome": "sent"}).json()
        seen += [item["guest_name"] for item in page["items"]]
        after = page["next"]
    assert seen == [f"Guest {number}" for number in range(1, 6)]
    [failed] = client.get(address, params={"outcome": "failed"}).json()["items"]
    assert (failed["guest_name"], failed["reason"], failed["error_code"]) == ("=HYPERLINK(1)", "refused", "550")
    file = client.get(f"{address}.csv")
    assert file.headers["content-type"].startswith("text/csv")
    lines = file.text.splitlines()
    assert len(lines) == 7
    assert "'=HYPERLINK(1)" in lines[6]
