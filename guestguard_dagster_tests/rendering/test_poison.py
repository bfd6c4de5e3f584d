"""What an entrance accepts can be composed; and what is stored already never raises but for what is documented."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from guestguard_dagster.delivery.composing import from_name
from guestguard_dagster.domain.events import Event, RsvpStatus, User
from guestguard_dagster.domain.messages import MessageAudience
from guestguard_dagster.domain.notifications import (
    NotificationType,
)
from guestguard_dagster.domain.payloads import PayloadRefused
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.domain.placeholders import TemplateRefused
from guestguard_dagster.notifications.registry import TYPES, definition_of
from guestguard_dagster.notifications.types.confirmation import ConfirmationMail, RsvpConfirmed
from guestguard_dagster.notifications.types.fraud_alert import FraudAlertMail, FraudScored
from guestguard_dagster.notifications.types.invitation import INVITATION, InvitationMail, InvitationSend
from guestguard_dagster.rendering.addresses import AddressInvalid
from guestguard_dagster.rendering.calendar import CALENDAR_FILENAME, CALENDAR_TYPE, calendar_file
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.mail import MailTemplate, RenderedMail, rsvp_button_label
from guestguard_dagster.rendering.shell import Branding
from guestguard_dagster.rendering.sms import TextTemplate, TextTooLong
from guestguard_dagster.senders.base import Attachment, Mail
from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.senders.resend.sdk import ResendAccount
from guestguard_dagster.senders.resend.sending import ResendSender
from guestguard_dagster.web.api.event_schemas import BrandingValues, NewEvent, NewGuest
from guestguard_dagster.web.api.message_schemas import NewMessage
from guestguard_dagster.web.api.values import Email, PersonName

LINK = "https://rsvp.example.com/rsvp/token"
UNSUBSCRIBE = "https://rsvp.example.com/u/token"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
COMPOSER = MailComposer("events@example.com")
RESEND = ResendSender(ResendAccount("re_key", "https://api.example.com"), "events@example.com", requests_per_second=1)

NASTY = st.sampled_from(
    [
        "\u200d",
        "\u200c",
        "\u00ad",
        "\u202e",
        "\ufeff",
        "\x00",
        "\x07",
        "\x1c",
        "\x85",
        "\u2028",
        "\ud800",
        "\r\n",
        "\t",
        "<b>",
        '"',
        "\\",
        "=?utf-8?b?",
        "{{guest_name}}",
        "{{rsvp_link}}",
        "{{",
        "{%",
        "\x00guest_name\x00",
        "%",
        ";",
        "👩‍👩‍👧",
        "é",
        "€",
    ]
)
TEXT = st.lists(NASTY | st.sampled_from(["Ann", " ", "Garden Party", "x" * 90]) | st.text(max_size=4), max_size=6).map(
    "".join
)
ADDRESS = st.sampled_from(
    ["a..b@example.org", "zoë@example.org", "ann@bücher.example", '"q"@example.org', "a%?&b@example.org", "ann@x"]
) | st.tuples(TEXT, st.just("@example.org")).map("".join)
LOGO = st.sampled_from(["https://example.org/l.png", "https://", "http://x", "https://a b"]) | TEXT.map(
    lambda text: f"https://example.org/{text}"
)
ZONE = st.sampled_from(["Europe/Berlin", "Pacific/Kiritimati", "Etc/GMT+12", "UTC", "Factory", "America", "", ".."])
ENDS_OF_TIME = st.sampled_from(
    [datetime(1, 1, 1), datetime(2, 1, 1), datetime(9999, 12, 30), datetime(9999, 12, 31, 23, 59, 59)]  # noqa: DTZ001
)
INSTANT = (st.datetimes() | ENDS_OF_TIME).map(lambda moment: moment.replace(tzinfo=UTC))
GO_TIME = st.sampled_from(
    ["9999-12-31T23:59:59Z", "9999-12-31T00:00:00+14:00", "0001-01-01T00:00:00Z", "0002-01-01T00:00:00+14:00"]
) | INSTANT.map(lambda moment: moment.isoformat())
JSON_VALUE = TEXT | ADDRESS | LOGO | GO_TIME | st.integers() | st.floats() | st.none() | st.lists(TEXT, max_size=3)

_email: TypeAdapter[str] = TypeAdapter(Email)
_name: TypeAdapter[str] = TypeAdapter(PersonName)


def accepted(make: Callable[[], Any]) -> Any:
    """What an entrance makes of it; an example that it refuses says nothing."""
    try:
        return make()
    except (ValidationError, PayloadRefused, ValueError):
        assume(False)
        raise


def an_event(**fields: Any) -> Event:
    usual: dict[str, Any] = {
        "id": UUID(int=7),
        "name": "Party",
        "venue": "Here",
        "starts_at": CREATED,
        "ends_at": None,
        "timezone": "Europe/Berlin",
        "phone_region": None,
        "cancelled_at": None,
        "created_at": CREATED,
        "updated_at": CREATED,
    }
    return Event(**usual | fields)


def leave(rendered: RenderedMail, event: Event, host: User, to_email: str, to_name: str) -> None:
    """Through everything that composes a mail's bytes. Raises AddressInvalid for `to_email`, and nothing else."""
    attached = Attachment(CALENDAR_FILENAME, CALENDAR_TYPE, made(lambda: calendar_file(event, host)))
    mail = Mail(
        delivery_id=1,
        round=1,
        to_email=to_email,
        to_name=to_name,
        from_name=from_name(event, host, "GuestGuard"),
        reply_to=host.email,
        subject=rendered.subject,
        text=rendered.text,
        html=rendered.html,
        installation="0a1b2c3d-0000-4000-8000-000000000000",
        unsubscribe_url=UNSUBSCRIBE,
        attachments=(attached,),
    )
    assert b"\x00" not in made(lambda: COMPOSER.compose(replace(mail, to_email="ann@example.org")))
    RESEND.prepare([mail])
    COMPOSER.compose(mail, smtputf8=True)
    COMPOSER.compose(mail)


def made(make: Callable[[], bytes]) -> bytes:
    """What no recipient's address has a part in: it must not raise what would be taken for a refusal of that one."""
    try:
        return make()
    except (AddressInvalid, TemplateRefused, TextTooLong) as problem:
        raise AssertionError("a mail could not be made, whoever it is for") from problem


def compose_everything(
    event: Event, host: User, guest_name: str, address: str, *, subject: str, body: str, may_be_invalid: bool
) -> None:
    facts = EventFacts.of(event, host_name=host.name)
    rendered = [
        ConfirmationMail.compile(event, host_name=host.name).render(
            guest_name=guest_name, answer=RsvpStatus.ATTENDING, plus_ones=1, rsvp_link=LINK
        )
    ]
    with suppress(TemplateRefused):
        template = MailTemplate.compile(
            subject, body, facts, branding=Branding.of(event), button_label=rsvp_button_label(MessageAudience.PENDING)
        )
        rendered.append(template.render(guest_name=guest_name, rsvp_link=LINK, unsubscribe_url=UNSUBSCRIBE))
    with suppress(TemplateRefused, TextTooLong):
        TextTemplate.compile(body, facts).render(guest_name=guest_name, rsvp_link=LINK)
    for mail in rendered:
        try:
            leave(mail, event, host, address, guest_name)
        except AddressInvalid:
            # With an address that was accepted, only what a server without SMTPUTF8 does not take.
            assert may_be_invalid or not address.isascii()


@settings(max_examples=150, deadline=None)
@given(
    event_fields=st.fixed_dictionaries(
        {"name": TEXT, "venue": TEXT, "timezone": ZONE | TEXT, "starts_at": GO_TIME, "ends_at": st.none() | GO_TIME}
    ),
    branding=st.fixed_dictionaries(
        {
            "accent": st.sampled_from(["#123456", "#12345g", "#123456\n", None]),
            "logo_url": st.none() | LOGO,
            "sender_name": st.none() | TEXT,
            "postal_address": st.none() | TEXT,
        }
    ),
    people=st.tuples(TEXT, ADDRESS, TEXT, ADDRESS),
    message=st.fixed_dictionaries({"subject": TEXT, "body": TEXT}),
)
def test_what_the_api_accepts_can_be_composed(
    event_fields: dict[str, Any], branding: dict[str, Any], people: tuple[str, ...], message: dict[str, Any]
) -> None:
    host_name, host_email, guest_name, guest_email = people
    # Each part is replaced where it is refused, so that most examples reach the end with some of it.
    fields: dict[str, Any] = {}
    usual = {"name": "Party", "starts_at": "2026-12-05T18:30:00Z", "timezone": "Pacific/Kiritimati"}
    for name, value in event_fields.items():
        with suppress(ValueError):
            draft = NewEvent.model_validate(usual | {name: value}).draft()
            fields[name] = getattr(draft, name)
    looks: dict[str, Any] = {}
    for name, value in branding.items():
        with suppress(ValueError):
            looks[name] = getattr(BrandingValues.model_validate({name: value}), name)
    host = User(UUID(int=8), "host@example.org", "Robin")
    guest = NewGuest(name="Ann", email="ann@example.org")
    with suppress(ValueError):
        host = User(host.id, _email.validate_python(host_email), host.name)
    with suppress(ValueError):
        host = User(host.id, host.email, _name.validate_python(host_name))
    with suppress(ValueError):
        guest = NewGuest.model_validate({"name": guest_name, "email": "ann@example.org"})
    with suppress(ValueError):
        guest = NewGuest.model_validate({"name": guest.name, "email": guest_email})
    words = NewMessage.model_validate({"body": "Hello {{guest_name}}", "mode": "draft"})
    with suppress(ValueError):
        words = NewMessage.model_validate(message | {"mode": "draft"})
    event = an_event(**fields, **looks)
    assert Branding.of(event) == Branding(
        accent=event.accent or Branding().accent, logo_url=event.logo_url, postal_address=event.postal_address
    )
    compose_everything(
        event, host, guest.name, guest.email or "", subject=words.subject, body=words.body, may_be_invalid=False
    )


@settings(max_examples=150, deadline=None)
@given(
    fields=st.fixed_dictionaries(
        {
            "name": TEXT,
            "venue": TEXT,
            "timezone": ZONE | TEXT,
            "starts_at": INSTANT,
            "ends_at": st.none() | INSTANT,
            "phone_region": st.none() | TEXT,
            "accent": st.none() | TEXT,
            "logo_url": st.none() | LOGO | TEXT,
            "sender_name": st.none() | TEXT,
            "postal_address": st.none() | TEXT,
        }
    ),
    people=st.tuples(TEXT, ADDRESS | TEXT, TEXT, ADDRESS | TEXT),
    words=st.tuples(TEXT, TEXT),
)
@example(
    fields={"postal_address": "Main Street\u200d 1", "logo_url": "https://example.org/\x1c.png"},
    people=("Robin", "a..b@example.org", "Ann", "ann@example.org"),
    words=("Hi", "{{rsvp_link}}"),
)
def test_whatever_is_stored_the_mail_is_made_without_what_cannot_be_shown(
    fields: dict[str, Any], people: tuple[str, ...], words: tuple[str, str]
) -> None:
    host_name, host_email, guest_name, guest_email = people
    event = an_event(**fields)
    BrandingValues.of(event)
    to_e164(guest_email, event.phone_region)
    host = User(UUID(int=8), host_email, host_name)
    compose_everything(event, host, guest_name, guest_email, subject=words[0], body=words[1], may_be_invalid=True)


PAYLOAD_FIELDS = st.dictionaries(
    st.sampled_from(
        [
            *("rsvp_id", "response", "plus_ones", "submitted_at", "score", "risk", "reasons", "guest_email"),
            *("guest_name", "host_name", "event_name", "venue", "event_date", "link"),
        ]
    ),
    JSON_VALUE,
)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(TYPES), fields=PAYLOAD_FIELDS, zone=ZONE, is_stored=st.booleans())
@example(
    kind=INVITATION.type,
    fields={"event_date": "9999-12-31T23:00:00Z"},
    zone="Pacific/Kiritimati",
    is_stored=True,
)
def test_what_nats_brought_can_be_composed(
    kind: NotificationType, fields: dict[str, Any], zone: str, is_stored: bool
) -> None:
    known = str(UUID(int=9))
    usual: dict[str, Any] = {"rsvp_id": "r", "response": "yes", "score": 80, "guest_email": "ann@example.org"}
    whole = {"guest_id": known, "event_id": known} | usual | fields
    event, host = an_event(timezone=zone), User(UUID(int=8), "a..b@example.org", "Robin")
    if is_stored:
        payload = accepted(lambda: definition_of(kind).payload.model_validate(whole))
    else:
        payload = accepted(lambda: definition_of(kind).payload.read(json.dumps(whole).encode()))
    address = "ann@example.org"
    match payload:
        case RsvpConfirmed():
            rendered = ConfirmationMail.compile(event, host_name=host.name).render(
                guest_name="Ann", answer=payload.response, plus_ones=payload.plus_ones, rsvp_link=LINK
            )
            payload.answered(CREATED)
        case FraudScored():
            rendered = FraudAlertMail.compile(event, host_name=host.name).render(
                payload=payload, guest_name=None, seen_at=CREATED, event_link=LINK
            )
        case InvitationSend():
            address = payload.guest_email
            rendered = InvitationMail.compile(event, payload, host_name=host.name).render(
                guest_name=payload.guest_name, link=payload.link or LINK, unsubscribe_url=UNSUBSCRIBE
            )
    json.dumps(payload.model_dump(mode="json")).encode()
    with suppress(AddressInvalid):
        leave(rendered, event, host, address, "Ann")


@pytest.mark.parametrize(
    "values",
    [
        {"logo_url": "https://example.org/\x07.png"},
        {"logo_url": "https://example.org/\x1c.png"},
        {"logo_url": "https://example.org/\u200d.png"},
        {"postal_address": "\x00"},
        {"sender_name": "\x00"},
    ],
)
def test_branding_that_no_mail_can_show_is_refused_with_the_field(values: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        BrandingValues.model_validate(values)
    assert [error["loc"] for error in refused.value.errors()] == [tuple(values)]


def test_an_invitation_for_the_end_of_the_calendar_is_refused() -> None:
    content = {"guest_id": str(UUID(int=9)), "event_id": str(UUID(int=9)), "guest_email": "ann@example.org"}
    with pytest.raises(PayloadRefused, match="event_date: lies at the end of the calendar"):
        definition_of(INVITATION.type).payload.read(
            json.dumps(content | {"event_date": "9999-12-31T12:00:00Z"}).encode()
        )
