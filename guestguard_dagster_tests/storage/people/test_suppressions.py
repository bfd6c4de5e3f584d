import logging
from uuid import uuid4

import pytest

from guestguard_dagster.domain.events import GuestDraft
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel
from guestguard_dagster.domain.suppressions import EVERY_HOST, SuppressionReason, for_host, for_sending_number
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages import recipients
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster.storage.people.suppressions import NotAPhoneNumber, SuppressionRepo
from guestguard_dagster_tests.factories import make_event

EMAIL, SMS = MessageChannel.EMAIL, MessageChannel.SMS

SPELLINGS = [
    "Anna@bücher.example",
    "anna@xn--bcher-kva.example",
    "ＡＮＮＡ@BÜCHER.example",
    "an\u00adna@bü\u00adcher.example",
]


def test_an_address_is_suppressed_whatever_its_case(database: Database) -> None:
    suppressions = SuppressionRepo(database)
    suppressions.add(EMAIL, " Ada@Example.COM ", reason=SuppressionReason.HARD_BOUNCE, source="resend")
    assert suppressions.is_suppressed(EMAIL, "ada@example.com")
    assert suppressions.is_suppressed(EMAIL, "ADA@EXAMPLE.com")
    assert not suppressions.is_suppressed(EMAIL, "adam@example.com")


def test_letters_beyond_ascii_are_folded_alike_on_both_sides(database: Database) -> None:
    suppressions = SuppressionRepo(database)
    suppressions.add(EMAIL, "Jürgen.Ö@example.com", reason=SuppressionReason.COMPLAINT, source="resend")
    assert suppressions.is_suppressed(EMAIL, "Jürgen.Ö@EXAMPLE.com")


def test_an_unsubscribe_holds_for_one_host_and_a_stop_for_one_sending_number(database: Database) -> None:
    suppressions, host, other_host = SuppressionRepo(database), for_host(uuid4()), for_host(uuid4())
    suppressions.add(EMAIL, "a@example.com", scope=host, reason=SuppressionReason.UNSUBSCRIBE, source="link")
    assert suppressions.is_suppressed(EMAIL, "a@example.com", scopes=[host])
    assert not suppressions.is_suppressed(EMAIL, "a@example.com", scopes=[other_host])
    assert not suppressions.is_suppressed(EMAIL, "a@example.com")

    number = for_sending_number("+15005550006")
    suppressions.add(SMS, "+49 171 1234567", scope=number, reason=SuppressionReason.STOP, source="twilio")
    assert suppressions.is_suppressed(SMS, "+491711234567", scopes=[number])
    assert not suppressions.is_suppressed(SMS, "+491711234567", scopes=[for_sending_number("+15005550007")])
    assert not suppressions.is_suppressed(EMAIL, "+491711234567", scopes=[number])


def test_adding_twice_keeps_one_row_and_its_first_reason(database: Database) -> None:
    suppressions = SuppressionRepo(database)
    first = suppressions.add(EMAIL, "a@example.com", reason=SuppressionReason.HARD_BOUNCE, source="resend")
    again = suppressions.add(EMAIL, "A@example.com", reason=SuppressionReason.COMPLAINT, source="ses")
    assert again == first
    assert suppressions.list_active() == [first]
    assert first.scope == EVERY_HOST


def test_a_lifted_suppression_no_longer_holds_and_can_be_added_anew(database: Database) -> None:
    suppressions = SuppressionRepo(database)
    first = suppressions.add(EMAIL, "a@example.com", reason=SuppressionReason.MANUAL, source="operator")
    assert suppressions.lift(EMAIL, "A@Example.com")
    assert not suppressions.is_suppressed(EMAIL, "a@example.com")
    assert not suppressions.lift(EMAIL, "a@example.com")
    assert suppressions.list_active() == []
    second = suppressions.add(EMAIL, "a@example.com", reason=SuppressionReason.MANUAL, source="operator")
    assert second.id != first.id
    assert suppressions.list_active() == [second]


def test_many_addresses_are_asked_for_at_once_and_come_back_as_they_were_written(database: Database) -> None:
    suppressions, host = SuppressionRepo(database), for_host(uuid4())
    suppressions.add(EMAIL, "all@example.com", reason=SuppressionReason.HARD_BOUNCE, source="resend")
    suppressions.add(EMAIL, "host@example.com", scope=host, reason=SuppressionReason.UNSUBSCRIBE, source="link")
    asked = ["All@Example.com", "HOST@example.com", "free@example.com"]
    assert suppressions.suppressed_among(EMAIL, asked, scopes=[host]) == {"All@Example.com", "HOST@example.com"}
    assert suppressions.suppressed_among(EMAIL, asked) == {"All@Example.com"}
    assert suppressions.suppressed_among(EMAIL, []) == frozenset()


def test_suppressions_are_listed_by_channel_and_scope_in_pages(database: Database) -> None:
    suppressions, host = SuppressionRepo(database), for_host(uuid4())
    added = [
        suppressions.add(EMAIL, f"{number}@example.com", reason=SuppressionReason.MANUAL, source="operator")
        for number in range(5)
    ]
    by_host = suppressions.add(EMAIL, "1@example.com", scope=host, reason=SuppressionReason.UNSUBSCRIBE, source="link")
    by_phone = suppressions.add(SMS, "+491711234567", reason=SuppressionReason.MANUAL, source="operator")
    assert suppressions.list_active(scope=host) == [by_host]
    assert suppressions.list_active(channel=SMS) == [by_phone]
    assert suppressions.list_active(channel=EMAIL, scope=EVERY_HOST, after=added[1].id, limit=2) == added[2:4]


def test_what_is_no_phone_number_is_refused_without_being_repeated(database: Database) -> None:
    with pytest.raises(NotAPhoneNumber) as refusal:
        SuppressionRepo(database).add(SMS, "0664 7654321", reason=SuppressionReason.STOP, source="twilio")
    assert "7654321" not in str(refusal.value)


def test_no_address_reaches_a_log_or_a_repr(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    suppressions = SuppressionRepo(database)
    with caplog.at_level(logging.DEBUG):
        added = suppressions.add(EMAIL, "ada@example.com", reason=SuppressionReason.HARD_BOUNCE, source="resend")
        suppressions.is_suppressed(EMAIL, "ada@example.com")
        suppressions.lift(EMAIL, "ada@example.com")
    assert "example.com" not in caplog.text + repr(added)


@pytest.mark.parametrize("told", SPELLINGS)
def test_a_suppression_holds_for_every_spelling(database: Database, told: str) -> None:
    suppressions, event = SuppressionRepo(database), make_event(database)
    host = for_host(EventRepo(database).host_of(event.id).id)
    drafts = [GuestDraft(f"Guest {number}", spelling) for number, spelling in enumerate(SPELLINGS)]
    GuestRepo(database).add_many(event.id, [*drafts, GuestDraft("Somebody else", "bob@bücher.example")])
    suppressions.add(EMAIL, told, scope=host, reason=SuppressionReason.UNSUBSCRIBE, source="link")

    asked = [*SPELLINGS, "bob@bücher.example"]
    assert suppressions.scopes_among(EMAIL, asked) == {spelling: {host} for spelling in SPELLINGS}
    with database.transaction() as connection:
        count = recipients.count(connection, event.id, MessageAudience.EVERYONE, EMAIL, sending_number=None)
    assert (count.total, count.suppressed) == (len(asked), len(SPELLINGS))
    assert suppressions.lift(EMAIL, SPELLINGS[-1], scope=host)
    assert not suppressions.is_suppressed(EMAIL, told, scopes=[host])


def test_letters_beyond_ascii_are_matched_whatever_the_database_makes_of_them(database: Database) -> None:
    suppressions, event = SuppressionRepo(database), make_event(database)
    GuestRepo(database).add_many(
        event.id, [GuestDraft("A", "JÜRGEN@example.com"), GuestDraft("B", "jürgen@example.com")]
    )
    suppressions.add(EMAIL, "Jürgen@example.com", reason=SuppressionReason.COMPLAINT, source="resend")
    with database.transaction() as connection:
        count = recipients.count(connection, event.id, MessageAudience.EVERYONE, EMAIL, sending_number=None)
    assert count.suppressed == 2
