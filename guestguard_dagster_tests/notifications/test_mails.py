"""The mails that answer to events, and the calendar file: complete, harmless, and right in every zone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import available_timezones

import icalendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.domain.events import Event, RsvpStatus, User
from guestguard_dagster.notifications.types.confirmation import ConfirmationMail
from guestguard_dagster.notifications.types.fraud_alert import FraudAlertMail, FraudScored
from guestguard_dagster.notifications.types.invitation import InvitationMail, InvitationSend
from guestguard_dagster.rendering.calendar import calendar_file
from guestguard_dagster.rendering.mail import RenderedMail
from guestguard_dagster_tests.rendering.reading import ReadHtml

START = datetime(2026, 12, 5, 17, 30, tzinfo=UTC)
CREATED = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
EVENT = Event(
    id=UUID(int=7),
    name="Summer Garden Party",
    venue="The Orangery, Potsdam",
    starts_at=START,
    ends_at=START + timedelta(hours=5),
    timezone="Europe/Berlin",
    phone_region=None,
    cancelled_at=None,
    created_at=CREATED,
    updated_at=CREATED,
)
HOST = User(UUID(int=8), "robin@example.com", "Robin")
LINK = "https://rsvp.example.com/rsvp/token"
NASTY = '<img src=x onerror=alert(1)>"\r\nBcc: x\u202e&\x00'


def confirm(answer: RsvpStatus, *, plus_ones: int = 0, guest_name: str = "Amira", event: Event = EVENT) -> RenderedMail:
    mail = ConfirmationMail.compile(event, host_name="Robin")
    return mail.render(guest_name=guest_name, answer=answer, plus_ones=plus_ones, rsvp_link=LINK)


@pytest.mark.parametrize(
    ("answer", "plus_ones", "said", "not_said"),
    [
        (RsvpStatus.ATTENDING, 0, "You're going", "more guest"),
        (RsvpStatus.ATTENDING, 1, "with one more guest", "guests"),
        (RsvpStatus.MAYBE, 3, "You might come, with 3 more guests", "calendar"),
        (RsvpStatus.DECLINED, 3, "You can't make it", "more guests"),
    ],
)
def test_a_confirmation_says_what_was_answered(answer: RsvpStatus, plus_ones: int, said: str, not_said: str) -> None:
    mail = confirm(answer, plus_ones=plus_ones)
    page = ReadHtml(mail.html)
    assert mail.subject == "Your RSVP is confirmed"
    assert said in page.text
    assert said in mail.text
    assert not_said not in page.text
    assert "Sat, 05 Dec 2026 · 18:30 – 23:30" in page.text
    assert LINK in page.links
    assert LINK in mail.text


def test_values_harm_nothing() -> None:
    event = replace(EVENT, name=NASTY, venue=NASTY)
    payload = FraudScored(event_id=UUID(int=1), score=87, risk=NASTY, reasons=(NASTY,))
    alert = FraudAlertMail.compile(event, host_name=NASTY).render(
        payload=payload, guest_name=NASTY, seen_at=START, event_link=LINK
    )
    invited = InvitationSend(event_name=NASTY, venue=NASTY, host_name=NASTY, guest_name=NASTY)
    invitation = InvitationMail.compile(event, invited, host_name=NASTY).render(
        guest_name=NASTY, link=LINK, unsubscribe_url="https://x.example/u"
    )
    for mail in (confirm(RsvpStatus.ATTENDING, guest_name=NASTY, event=event), alert, invitation):
        page = ReadHtml(mail.html)
        assert "img" not in [tag for tag, _ in page.tags]
        assert "\r" not in mail.subject + mail.text
        assert "\u202e" not in mail.html + mail.text + mail.subject
        assert "\x00" not in mail.html + mail.text


def test_an_alert_says_score_risk_and_reasons() -> None:
    payload = FraudScored(event_id=UUID(int=1), score=120.6, risk="high", reasons=("new_device", "Came from afar"))
    mail = FraudAlertMail.compile(EVENT, host_name="Robin").render(
        payload=payload, guest_name="Deniz", seen_at=START, event_link=LINK
    )
    page = ReadHtml(mail.html)
    assert mail.subject == "Suspicious access attempt detected"
    for said in (
        "121",
        "Risk: high",
        "New device",
        "Came from afar",
        "invitation of Deniz",
        "Reported Sat, 05 Dec 2026",
    ):
        assert said in page.text
    assert "width:100%;height:8px" in mail.html


def test_an_invitation_says_what_the_payload_says() -> None:
    payload = InvitationSend(event_name="Our Wedding", venue="The Church", event_date=START + timedelta(days=1))
    mail = InvitationMail.compile(EVENT, payload, host_name="Robin").render(
        guest_name="Eva", link=LINK, unsubscribe_url=None
    )
    page = ReadHtml(mail.html)
    assert mail.subject == "You're invited — Our Wedding"
    assert "Robin invites you to Our Wedding at The Church, on Sun, 06 Dec 2026 · 18:30" in page.text
    assert LINK in page.links
    assert "Summer Garden Party" not in page.text


def test_an_invitation_without_a_date_names_none() -> None:
    mail = InvitationMail.compile(EVENT, InvitationSend(), host_name="Robin").render(
        guest_name="", link=LINK, unsubscribe_url=None
    )
    assert "2026" not in ReadHtml(mail.html).text
    assert "2026" not in mail.text
    assert "Hi there," in mail.text


def test_mails_carry_everything_within_themselves() -> None:
    mail = confirm(RsvpStatus.ATTENDING)
    page = ReadHtml(mail.html)
    assert {tag for tag, _ in page.tags} & {"img", "link", "script", "iframe"} == set()
    assert "url(" not in mail.html


# --- the calendar file ------------------------------------------------------------------------------------------------


def entry_of(event: Event) -> icalendar.Event:
    (entry,) = icalendar.Calendar.from_ical(calendar_file(event, HOST).decode()).walk("VEVENT")
    assert isinstance(entry, icalendar.Event)
    return entry


@given(st.sampled_from(sorted(available_timezones())), st.timedeltas(timedelta(), timedelta(days=3000)))
def test_the_entry_is_at_the_instant_of_the_event_in_every_zone(timezone: str, later: timedelta) -> None:
    starts_at = (START + later).replace(microsecond=0)
    entry = entry_of(replace(EVENT, timezone=timezone, starts_at=starts_at, ends_at=starts_at + timedelta(hours=2)))
    assert entry.decoded("DTSTART") == starts_at
    assert entry.decoded("DTEND") == starts_at + timedelta(hours=2)


def test_the_file_is_published_as_the_standard_asks() -> None:
    raw = calendar_file(replace(EVENT, name="Party; with, every \\ sign\n" + "and a long name " * 10), HOST)
    lines = raw.split(b"\r\n")
    assert lines[0] == b"BEGIN:VCALENDAR"
    assert b"METHOD:PUBLISH" in lines
    assert b"ATTENDEE" not in raw
    assert max(map(len, lines)) <= 75
    entry = icalendar.Calendar.from_ical(raw.decode()).walk("VEVENT")[0]
    assert str(entry["SUMMARY"]).startswith("Party; with, every \\ sign and a long")
    assert str(entry["ORGANIZER"]) == "mailto:robin@example.com"
    assert entry["ORGANIZER"].params["CN"] == "Robin"


def test_a_moved_event_updates_the_entry_instead_of_adding_one() -> None:
    moved = replace(EVENT, starts_at=START + timedelta(days=1), updated_at=CREATED + timedelta(minutes=1))
    before, after = entry_of(EVENT), entry_of(moved)
    assert before["UID"] == after["UID"]
    assert after.decoded("SEQUENCE") > before.decoded("SEQUENCE")


def test_an_open_end_stays_open() -> None:
    assert "DTEND" not in entry_of(replace(EVENT, ends_at=None))
