"""Who gets in, and how far: tokens, sessions, roles on every endpoint, and what is written down about it."""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from starlette.testclient import TestClient

from guestguard_dagster.clock import utc_now
from guestguard_dagster.domain.events import CollaboratorRole, Event, User
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.settings import Settings, SettingsInvalid
from guestguard_dagster.storage.database import Database
from guestguard_dagster.web.app import create_app
from guestguard_dagster.web.auth import BearerTokens, Sessions
from guestguard_dagster.web.services import LocalSignIn
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, make_user
from guestguard_dagster_tests.web.conftest import ADDRESS, ClientOf, bearer_token

_VIEWER, _EDITOR, _OWNER = CollaboratorRole.VIEWER, CollaboratorRole.EDITOR, CollaboratorRole.OWNER
_RANK = [_VIEWER, _EDITOR, _OWNER]

# Which role each endpoint of an event needs. A new endpoint fails the test until it is listed here.
_NEEDED: dict[tuple[str, str], CollaboratorRole] = {
    ("GET", "/events/{event_id}"): _VIEWER,
    ("PATCH", "/events/{event_id}"): _EDITOR,
    ("POST", "/events/{event_id}/cancel"): _OWNER,
    ("GET", "/events/{event_id}/branding"): _VIEWER,
    ("PUT", "/events/{event_id}/branding"): _EDITOR,
    ("GET", "/events/{event_id}/collaborators"): _VIEWER,
    ("POST", "/events/{event_id}/collaborators"): _OWNER,
    ("PATCH", "/events/{event_id}/collaborators/{user_id}"): _OWNER,
    ("DELETE", "/events/{event_id}/collaborators/{user_id}"): _OWNER,
    ("GET", "/events/{event_id}/guests"): _EDITOR,
    ("POST", "/events/{event_id}/guests"): _EDITOR,
    ("POST", "/events/{event_id}/guests/import"): _EDITOR,
    ("PATCH", "/events/{event_id}/guests/{guest_id}"): _EDITOR,
    ("DELETE", "/events/{event_id}/guests/{guest_id}"): _EDITOR,
    ("GET", "/events/{event_id}/guests/{guest_id}/messages"): _EDITOR,
    ("GET", "/events/{event_id}/notifications"): _EDITOR,
    ("GET", "/events/{event_id}/messages"): _VIEWER,
    ("POST", "/events/{event_id}/messages"): _EDITOR,
    ("GET", "/events/{event_id}/messages/recipient-count"): _VIEWER,
    ("POST", "/events/{event_id}/messages/preview"): _EDITOR,
    ("POST", "/events/{event_id}/messages/test-send"): _EDITOR,
    ("GET", "/events/{event_id}/messages/{message_id}"): _VIEWER,
    ("PATCH", "/events/{event_id}/messages/{message_id}"): _EDITOR,
    ("DELETE", "/events/{event_id}/messages/{message_id}"): _EDITOR,
    ("POST", "/events/{event_id}/messages/{message_id}/send-now"): _EDITOR,
    ("POST", "/events/{event_id}/messages/{message_id}/stop"): _EDITOR,
    ("POST", "/events/{event_id}/messages/{message_id}/resume"): _EDITOR,
    ("POST", "/events/{event_id}/messages/{message_id}/retry-failed"): _EDITOR,
    ("POST", "/events/{event_id}/messages/{message_id}/preview"): _EDITOR,
    ("POST", "/events/{event_id}/messages/{message_id}/test-send"): _EDITOR,
    ("GET", "/events/{event_id}/messages/{message_id}/deliveries"): _EDITOR,
    ("GET", "/events/{event_id}/messages/{message_id}/deliveries.csv"): _EDITOR,
}


def _endpoints(app: FastAPI) -> set[tuple[str, str]]:
    """Every method and path of the API that is about one event."""
    paths = app.openapi()["paths"]
    return {
        (method.upper(), path)
        for path, operations in paths.items()
        if path.startswith("/events/{event_id}")
        for method in operations
    }


def test_every_endpoint_of_an_event_is_in_the_matrix(app: FastAPI) -> None:
    assert _endpoints(app) == set(_NEEDED)


def _call(client: TestClient, method: str, path: str, event: Event) -> int:
    """The status of a call that is fine but for who makes it and what it says: 404 and 422 are fine, too."""
    address = path.format(event_id=event.id, message_id=uuid4(), guest_id=uuid4(), user_id=uuid4())
    content = b"{}" if method in ("POST", "PATCH", "PUT") else None
    headers = {"Content-Type": "application/json"} if content else {}
    return client.request(method, address, content=content, headers=headers).status_code


@pytest.mark.parametrize("role", _RANK)
def test_a_role_reaches_exactly_the_endpoints_that_it_may(
    event: Event,
    host: User,
    client_of: ClientOf,
    collaborator: Callable[[CollaboratorRole], User],
    role: CollaboratorRole,
) -> None:
    client = client_of(host if role is _OWNER else collaborator(role))
    # Cancelling comes last: after it, nothing else can be told apart.
    for method, path in sorted(_NEEDED, key=lambda each: each[1].endswith("/cancel")):
        status = _call(client, method, path, event)
        may = _RANK.index(role) >= _RANK.index(_NEEDED[method, path])
        assert (status != 403) is may, (method, path, status)
        assert status < 500, (method, path, status)


def test_an_event_of_others_does_not_exist_for_a_stranger(
    database: Database, event: Event, client_of: ClientOf
) -> None:
    stranger = client_of(make_user(database))
    for method, path in _NEEDED:
        assert _call(stranger, method, path, event) == 404, (method, path)
    mine, nobodys = (stranger.get(f"/events/{event_id}").json() for event_id in (event.id, uuid4()))
    assert mine["code"] == nobodys["code"] == "not_found"
    assert set(mine) == set(nobodys)


def test_messages_and_guests_of_another_event_are_not_reached_through_ones_own(
    client: TestClient, database: Database, event: Event
) -> None:
    elsewhere = make_event(database)
    message = make_message(database, elsewhere, status=MessageStatus.SENT)
    [guest] = make_guests(database, elsewhere)
    deep = [each for each in _NEEDED if "{message_id}" in each[1] or "{guest_id}" in each[1]]
    assert len(deep) > 10
    for method, path in deep:
        address = path.format(event_id=event.id, message_id=message.id, guest_id=guest.id)
        content = b'{"version": 1}' if method == "PATCH" and "message_id" in path else b"{}"
        headers = {"Content-Type": "application/json"}
        answer = client.request(method, address, content=None if method == "GET" else content, headers=headers)
        assert answer.status_code == 404, (method, path, answer.text)
    preview = {"body": "B", "subject": "S", "guest_id": str(guest.id)}
    assert client.post(f"/events/{event.id}/messages/preview", json=preview).status_code == 404


def test_nobody_gets_in_without_signing_in(anonymous: TestClient, event: Event) -> None:
    for method, path in [*_NEEDED, ("GET", "/events"), ("POST", "/events"), ("GET", "/session")]:
        status = _call(anonymous, method, path, event)
        assert status == 401, (method, path, status)
    assert anonymous.get("/events").headers["www-authenticate"] == "Bearer"


def _claims(user: User, **changed: Any) -> dict[str, Any]:
    now = utc_now()
    fine = {"iss": "guestguard", "aud": "guestguard-api", "sub": str(user.id), "exp": now + timedelta(minutes=5)}
    return {name: value for name, value in (fine | changed).items() if value is not None}


def _status_with(anonymous: TestClient, token: str) -> int:
    return anonymous.get("/events", headers={"Authorization": f"Bearer {token}"}).status_code


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_only_tokens_of_the_issuer_for_us_and_in_time_are_taken(
    anonymous: TestClient, settings: Settings, host: User
) -> None:
    key = BearerTokens.from_settings(settings).signing_key
    assert isinstance(key, bytes)
    assert _status_with(anonymous, jwt.encode(_claims(host), key)) == 200
    refused = {
        "expired": jwt.encode(_claims(host, exp=utc_now() - timedelta(minutes=5)), key),
        "without expiry": jwt.encode(_claims(host, exp=None), key),
        "of another issuer": jwt.encode(_claims(host, iss="somebody"), key),
        "without issuer": jwt.encode(_claims(host, iss=None), key),
        "for another audience": jwt.encode(_claims(host, aud="another"), key),
        "for several audiences": jwt.encode(_claims(host, aud=["guestguard-api", "another"]), key),
        "not yet valid": jwt.encode(_claims(host, nbf=utc_now() + timedelta(hours=1)), key),
        "of an unknown user": jwt.encode(_claims(host, sub=str(uuid4())), key),
        "of no user": jwt.encode(_claims(host, sub="me"), key),
        "with another key": jwt.encode(_claims(host), b"x" * 32),
        "with another algorithm": jwt.encode(_claims(host), key, algorithm="HS512"),
        "unsigned": jwt.encode(_claims(host), "", algorithm="none"),
        "a session's cookie": Sessions.from_settings(settings).open(host.id),
        "no token": "x",
        "too long": "x" * 20_000,
    }
    assert {name: _status_with(anonymous, token) for name, token in refused.items()} == dict.fromkeys(refused, 401)


def test_a_public_key_verifies_its_own_algorithm_and_nothing_signed_with_the_key_itself(
    settings: Settings, database: Database, host: User, tmp_path: Path
) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    public_pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "issuer.pem").write_bytes(public_pem)
    given = settings.model_copy(update={"jwt_algorithm": "ES256", "jwt_public_key_file": tmp_path / "issuer.pem"})
    with TestClient(create_app(given, database), base_url=ADDRESS) as client:
        assert _status_with(client, jwt.encode(_claims(host), private, algorithm="ES256")) == 200
        assert _status_with(client, _signed_with_hmac(_claims(host), public_pem)) == 401
    with pytest.raises(SettingsInvalid, match="JWT_PUBLIC_KEY_FILE only verifies"):
        BearerTokens.from_settings(given).mint(host.id, lasts=timedelta(minutes=1))


def _signed_with_hmac(claims: dict[str, Any], key: bytes) -> str:
    """A token by hand: no library signs with a public key as if it were a secret, but an attacker does."""

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    claims = claims | {"exp": int(utc_now().timestamp()) + 300}
    told = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (told + b"." + part(hmac.digest(key, told, hashlib.sha256))).decode()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"jwt_algorithm": "RS256"}, "JWT_PUBLIC_KEY_FILE"),
        ({"jwt_public_key_file": Path("/nonexistent.pem")}, "JWT_ALGORITHM"),
        ({"jwt_algorithm": "RS256", "jwt_public_key_file": Path("/nonexistent.pem")}, "JWT_PUBLIC_KEY_FILE"),
        ({"jwt_secret": "short"}, "JWT_SECRET"),
        ({"guestguard_secret_key": None}, "GUESTGUARD_SECRET_KEY"),
    ],
)
def test_an_issuer_that_is_configured_by_half_is_refused_by_name(
    settings: Settings, database: Database, changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsInvalid, match=named):
        create_app(Settings.model_validate(settings.model_dump() | changed), database)


# --- sessions -------------------------------------------------------------------------------------------------------


def _signed_in(anonymous: TestClient, settings: Settings, user: User) -> str:
    """Sign this browser in; returns its CSRF token."""
    opened = anonymous.post("/session", json={"token": bearer_token(settings, user)})
    assert opened.status_code == 204
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    token: str = anonymous.get("/session").json()["csrf_token"]
    return token


def test_a_session_needs_its_csrf_token_for_changes_and_for_nothing_else(
    anonymous: TestClient, settings: Settings, host: User, event: Event
) -> None:
    csrf = _signed_in(anonymous, settings, host)
    assert anonymous.get("/events").status_code == 200
    change: dict[str, Any] = {
        "url": f"/events/{event.id}/messages",
        "json": {"mode": "draft", "subject": "S", "body": "B"},
    }
    assert anonymous.post(**change).json()["code"] == "csrf"
    assert anonymous.post(**change, headers={"X-CSRF-Token": "x" * 64}).json()["code"] == "csrf"
    from_elsewhere = {"X-CSRF-Token": csrf, "Sec-Fetch-Site": "cross-site"}
    assert anonymous.post(**change, headers=from_elsewhere).json()["code"] == "csrf"
    assert anonymous.post(**change, headers={"X-CSRF-Token": csrf}).status_code == 201


def test_a_csrf_token_is_of_one_session(app: FastAPI, anonymous: TestClient, settings: Settings, host: User) -> None:
    other = TestClient(app, base_url=ADDRESS)
    csrf_of_other = _signed_in(other, settings, host)
    _signed_in(anonymous, settings, host)
    refused = anonymous.delete("/session", headers={"X-CSRF-Token": csrf_of_other})
    assert refused.status_code == 403


def test_signing_out_ends_the_browsers_session(anonymous: TestClient, settings: Settings, host: User) -> None:
    csrf = _signed_in(anonymous, settings, host)
    assert anonymous.delete("/session", headers={"X-CSRF-Token": csrf}).status_code == 204
    assert anonymous.get("/session").status_code == 401


def test_a_foreign_page_cannot_sign_a_browser_in(anonymous: TestClient, settings: Settings, host: User) -> None:
    given = {"token": bearer_token(settings, host)}
    foreign = {"Origin": "https://attacker.example"}
    assert anonymous.post("/session", json=given, headers=foreign).status_code == 403
    assert anonymous.post("/sign-in", data=given, headers=foreign).status_code == 403
    assert anonymous.post("/session", json=given, headers={"Origin": ADDRESS}).status_code == 204


@pytest.mark.parametrize("goal", ["//attacker.example", "https://attacker.example", "/\\attacker.example", "x"])
def test_signing_in_leads_nowhere_else(anonymous: TestClient, settings: Settings, host: User, goal: str) -> None:
    answer = anonymous.post("/sign-in", data={"token": bearer_token(settings, host), "next": goal})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_over_https_the_cookie_is_for_this_secure_host_alone(
    settings: Settings, database: Database, host: User
) -> None:
    secure = settings.model_copy(update={"public_base_url": "https://guests.example.com"})
    with TestClient(create_app(secure, database), base_url="https://guests.example.com") as client:
        opened = client.post("/session", json={"token": bearer_token(secure, host)})
        assert opened.headers["set-cookie"].startswith("__Host-guestguard_session=")
        assert "; Secure" in opened.headers["set-cookie"]
        assert "max-age" in opened.headers["strict-transport-security"]


def test_the_link_of_guestguard_up_signs_its_host_in_on_this_machine_only(
    settings: Settings, database: Database, host: User
) -> None:
    local = LocalSignIn(host.id, "a key of this start")
    with TestClient(create_app(settings, database, local_sign_in=local), base_url="http://localhost:8000") as client:
        wrong = client.get("/sign-in?key=another", follow_redirects=False)
        assert wrong.status_code == 200
        assert client.get("/session").status_code == 401
        opened = client.get("/sign-in?key=a key of this start", follow_redirects=False)
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        session = client.get("/session").json()
        assert (session["user_id"], session["is_operator"]) == (str(host.id), True)
        assert client.get("/session", headers={"Host": "attacker.example"}).status_code == 400


def test_without_a_local_sign_in_no_key_opens_anything(anonymous: TestClient) -> None:
    assert anonymous.get("/sign-in?key=").status_code == 200
    assert anonymous.get("/session").status_code == 401


# --- what is written down, and what every answer carries ------------------------------------------------------------


def test_a_log_line_has_route_and_ids_and_neither_token_nor_address(
    client: TestClient, database: Database, event: Event, host: User, caplog: pytest.LogCaptureFixture
) -> None:
    [guest] = make_guests(database, event)
    with caplog.at_level(logging.DEBUG):
        client.get(f"/rsvp/{guest.rsvp_token}?saved=secret-query")
        client.get("/u/some-unsubscribe-token")
        client.get("/nothing/here-is-a-token")
        client.get(f"/events/{event.id}")
        client.post(f"/events/{event.id}/guests", json={"name": "Ada", "email": "ada.private@example.com"})
    ours = [record for record in caplog.records if record.name == "guestguard_dagster.web.access_log"]
    assert [record.getMessage() for record in ours] == [
        "GET /rsvp/{rsvp_token} 200",
        "GET /u/{unsubscribe_token} 404",
        "GET (no route) 404",
        "GET /events/{event_id} 200",
        "POST /events/{event_id}/guests 201",
    ]
    assert vars(ours[3])["event_id"] == str(event.id)
    assert vars(ours[3])["user_id"] == str(host.id)
    written = " ".join(str(vars(record)) for record in caplog.records if record.name.startswith("guestguard"))
    for secret in (guest.rsvp_token, "unsubscribe-token", "here-is-a-token", "secret-query", "ada.private"):
        assert secret not in written


def test_every_answer_carries_the_security_headers(anonymous: TestClient) -> None:
    for path in ("/events", "/rsvp/x", "/nothing", "/static/icon.svg", "/openapi.json"):
        headers = anonymous.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_an_answer_of_the_api_is_not_kept_by_caches(client: TestClient) -> None:
    assert client.get("/events").headers["cache-control"] == "no-store"


def test_a_body_that_is_too_large_is_refused_announced_or_not(client: TestClient, event: Event) -> None:
    address = f"/events/{event.id}/messages"
    large = b'{"mode": "draft", "body": "' + b"x" * 300_000 + b'"}'
    announced = client.post(address, content=large, headers={"Content-Type": "application/json"})
    assert (announced.status_code, announced.json()["code"]) == (413, "too_large")
    streamed = client.post(
        address,
        content=(large[at : at + 9_000] for at in range(0, len(large), 9_000)),
        headers={"Content-Type": "application/json"},
    )
    assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")


def test_who_writes_too_fast_is_slowed_down_and_told_when_to_come_back(client: TestClient, event: Event) -> None:
    answers = [client.post(f"/events/{event.id}/messages", json={}) for _ in range(70)]
    slowed = [answer for answer in answers if answer.status_code == 429]
    assert slowed
    assert int(slowed[0].headers["retry-after"]) >= 1
    assert client.get("/events").status_code == 200


def test_health_says_whether_the_tables_are_there(anonymous: TestClient) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    assert anonymous.get("/readyz").json() == {"status": "ok"}
