"""How deliveries stand: the frozen audience, counts, news from providers, the end of a message, and retries."""

from datetime import timedelta
from typing import Any

import pytest

from guestguard_dagster.domain.deliveries import (
    HANDED_OFF_STATUSES,
    UNSETTLED_STATUSES,
    BatchState,
    DeliveryReport,
    DeliveryStats,
    DeliveryStatus,
    RecipientCount,
    RetryFilter,
    SkipReason,
)
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import Message, MessageAudience, MessageChannel, MessageStatus
from guestguard_dagster.domain.suppressions import SuppressionReason, for_host, for_sending_number
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.interrupted import InterruptedRepo
from guestguard_dagster.storage.errors import DeliveryNotFound, EventCancelled, MessageNotRetryable
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster_tests.factories import (
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    make_user,
    read_message,
    set_columns,
)
from guestguard_dagster_tests.storage.handing_off import (
    earlier_attempts,
    read_batch,
    read_delivery,
    set_batch,
)

TWO_HOURS = timedelta(hours=2)


def make_delivery(database: Database, *, message: Message | None = None, **columns: Any) -> int:
    message = message or make_message(database, make_event(database), status=MessageStatus.SENDING)
    event_id = message.event_id
    (guest,) = make_guests(database, make_event(database))
    (delivery_id,) = make_deliveries(database, message, [guest], event_id=event_id, **columns)
    return delivery_id


def ended_message(database: Database, status: MessageStatus = MessageStatus.SENT) -> Message:
    now = database.now()
    return make_message(
        database, make_event(database), status=status, audience_frozen_at=now, finished_at=now, preflighted_at=now
    )


# The frozen audience


@pytest.mark.parametrize("page_size", [1, 3, 7, 8, 1000])
def test_every_recipient_is_read_once_whatever_the_page(database: Database, page_size: int) -> None:
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENDING)
    guests = make_guests(database, event, 7)
    ids = make_deliveries(database, message, guests)
    make_deliveries(database, make_message(database, event), guests)
    recipients = list(MessageRepo(database).load_recipients(message.id, page_size=page_size))
    assert sorted(recipient.delivery_id for recipient in recipients) == ids
    assert {recipient.guest_id: recipient.email for recipient in recipients} == {g.id: g.email for g in guests}


def test_recipients_are_read_with_their_delivery_and_as_the_guest_is_now(database: Database) -> None:
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENDING)
    skipped, sent = make_guests(database, event, 2)
    make_deliveries(database, message, [sent], status=DeliveryStatus.SENT)
    make_deliveries(database, message, [skipped], status=DeliveryStatus.SKIPPED, reason=SkipReason.GUEST_REMOVED)
    GuestRepo(database).remove(skipped.id)
    messages = MessageRepo(database)
    (recipient,) = messages.load_recipients(message.id, statuses=[DeliveryStatus.SKIPPED])
    assert (recipient.guest_id, recipient.reason, recipient.round) == (skipped.id, SkipReason.GUEST_REMOVED, 1)
    assert recipient.removed_at is not None
    assert recipient.rsvp_status is RsvpStatus.ATTENDING
    assert recipient.rsvp_token not in repr(recipient)
    assert "example.com" not in repr(recipient)


# Counts


def test_stats_count_deliveries_by_status_and_reason(database: Database) -> None:
    event, messages = make_event(database), MessageRepo(database)
    message = make_message(database, event, status=MessageStatus.SENDING)
    assert messages.delivery_stats([message.id])[message.id] == DeliveryStats(())
    guests = make_guests(database, event, 10)
    make_deliveries(database, message, guests[:4], status=DeliveryStatus.SENT)
    make_deliveries(database, message, guests[4:5], status=DeliveryStatus.PENDING)
    make_deliveries(database, message, guests[5:7], status=DeliveryStatus.SKIPPED, reason=SkipReason.NO_ADDRESS)
    make_deliveries(database, message, guests[7:8], status=DeliveryStatus.SKIPPED, reason=SkipReason.GUEST_REMOVED)
    make_deliveries(database, message, guests[8:9], status=DeliveryStatus.FAILED, retryable=True)
    make_deliveries(database, message, guests[9:], status=DeliveryStatus.FAILED, retryable=False)
    make_deliveries(database, make_message(database, event), guests, status=DeliveryStatus.SENT)

    stats = messages.delivery_stats([message.id])[message.id]
    assert stats.by_status == {
        DeliveryStatus.SENT: 4,
        DeliveryStatus.PENDING: 1,
        DeliveryStatus.SKIPPED: 3,
        DeliveryStatus.FAILED: 2,
    }
    assert stats.reasons_of(DeliveryStatus.SKIPPED) == {SkipReason.NO_ADDRESS: 2, SkipReason.GUEST_REMOVED: 1}
    assert (stats.total, stats.unsettled, stats.retryable) == (10, 1, 1)


def test_sending_is_counted_and_listed_as_the_batch_says(database: Database) -> None:
    event, messages = make_event(database), MessageRepo(database)
    message = make_message(database, event, status=MessageStatus.SENDING)
    guests = make_guests(database, event, 6)
    make_deliveries(database, message, guests[:3], status=DeliveryStatus.SENDING)
    make_deliveries(database, message, guests[3:5], status=DeliveryStatus.PENDING)
    settled_since = make_deliveries(database, message, guests[5:], status=DeliveryStatus.SENDING)[0]
    set_columns(database, settled_since, status=DeliveryStatus.DELIVERED)

    stats = messages.delivery_stats([message.id])[message.id]
    assert stats.by_status == {DeliveryStatus.SENDING: 3, DeliveryStatus.PENDING: 2, DeliveryStatus.DELIVERED: 1}
    assert stats.unsettled == 5
    listed = {
        status: {recipient.guest_id for recipient in messages.load_recipients(message.id, statuses=[status])}
        for status in (DeliveryStatus.SENDING, DeliveryStatus.PENDING, DeliveryStatus.DELIVERED)
    }
    assert listed == {
        DeliveryStatus.SENDING: {guest.id for guest in guests[:3]},
        DeliveryStatus.PENDING: {guest.id for guest in guests[3:5]},
        DeliveryStatus.DELIVERED: {guests[5].id},
    }


def test_recipients_are_counted_with_those_who_cannot_be_written_to(database: Database) -> None:
    owner = make_user(database)
    event, messages, suppressions = make_event(database, owner=owner), MessageRepo(database), SuppressionRepo(database)
    everybody = make_guests(database, event, 6, rsvp_status=RsvpStatus.PENDING)
    make_guests(database, event, 2, rsvp_status=RsvpStatus.ATTENDING)
    set_columns(database, everybody[0], email=None)
    for guest, scope in ((everybody[1], "all"), (everybody[2], for_host(owner.id))):
        assert guest.email is not None
        address = guest.email.upper()
        suppressions.add(
            MessageChannel.EMAIL, address, scope=scope, reason=SuppressionReason.UNSUBSCRIBE, source="link"
        )
    assert everybody[3].email is not None
    of_another_host = for_host(make_user(database).id)
    suppressions.add(
        MessageChannel.EMAIL,
        everybody[3].email,
        scope=of_another_host,
        reason=SuppressionReason.UNSUBSCRIBE,
        source="link",
    )
    GuestRepo(database).remove(everybody[4].id)

    pending = messages.count_recipients(event.id, MessageAudience.PENDING, MessageChannel.EMAIL)
    assert pending == RecipientCount(total=5, without_address=1, suppressed=2)
    assert pending.reachable == 2
    everyone = messages.count_recipients(event.id, MessageAudience.EVERYONE, MessageChannel.EMAIL)
    assert everyone == RecipientCount(total=7, without_address=1, suppressed=2)
    nobody = messages.count_recipients(event.id, MessageAudience.MAYBE, MessageChannel.EMAIL)
    assert nobody == RecipientCount(total=0, without_address=0, suppressed=0)


def test_a_stop_counts_for_the_number_it_was_sent_to(database: Database) -> None:
    event, messages, number = make_event(database), MessageRepo(database), "+15005550006"
    make_guests(database, event, 1, phone="+491711234567")
    make_guests(database, event, 1)
    SuppressionRepo(database).add(
        MessageChannel.SMS,
        "+491711234567",
        scope=for_sending_number(number),
        reason=SuppressionReason.STOP,
        source="twilio",
    )
    by_sms = (event.id, MessageAudience.EVERYONE, MessageChannel.SMS)
    assert messages.count_recipients(*by_sms, sending_number=number) == RecipientCount(2, 1, 1)
    assert messages.count_recipients(*by_sms, sending_number="+15005550007") == RecipientCount(2, 1, 0)


# News from providers


@pytest.mark.parametrize("known", DeliveryStatus)
def test_news_move_a_delivery_forward_and_never_back(database: Database, known: DeliveryStatus) -> None:
    messages = MessageRepo(database)
    for news in DeliveryStatus:
        delivery_id = make_delivery(database, status=known)
        expected = news if news.is_settled and known.can_become(news) else known
        assert messages.record_delivery(delivery_id, DeliveryReport(news)) is expected
        assert read_delivery(database, delivery_id).live == expected


def test_news_of_a_hand_off_settle_the_delivery_and_no_repeat_waits_for_it(database: Database) -> None:
    now = database.now()
    for news in HANDED_OFF_STATUSES:
        message = make_message(database, make_event(database), status=MessageStatus.SENDING)
        delivery_id = make_delivery(database, message=message, status=DeliveryStatus.SENDING)
        MessageRepo(database).record_delivery(delivery_id, DeliveryReport(news, provider_message_id="m-1"))
        row = read_delivery(database, delivery_id)
        assert (row.provider_message_id, row.live) == ("m-1", news)
        assert row.handed_off_at >= now
        assert row.settled_at >= now
        ended = InterruptedRepo(database).end([message.id], accounts=[], within=TWO_HOURS)
        assert (ended, read_batch(database, row.batch_id).state) == (0, "done")
        assert read_delivery(database, delivery_id).status == news


def test_later_news_keep_the_provider_id_and_the_instant_of_the_hand_off(database: Database) -> None:
    handed_off_at = database.now() - TWO_HOURS
    delivery_id = make_delivery(
        database, status=DeliveryStatus.SENT, provider_message_id="m-1", handed_off_at=handed_off_at
    )
    bounced = DeliveryReport(DeliveryStatus.BOUNCED, reason="mailbox_gone", error_class="bounce", error_code="550")
    MessageRepo(database).record_delivery(delivery_id, bounced)
    row = read_delivery(database, delivery_id)
    assert (row.provider_message_id, row.handed_off_at) == ("m-1", handed_off_at)
    assert (row.reason, row.error_class, row.error_code) == ("mailbox_gone", "bounce", "550")


def test_news_of_a_missing_delivery_name_it_by_id(database: Database) -> None:
    with pytest.raises(DeliveryNotFound, match="delivery 4711"):
        MessageRepo(database).record_delivery(4711, DeliveryReport(DeliveryStatus.SENT))


# The end of a message


@pytest.mark.parametrize("open_status", sorted(UNSETTLED_STATUSES))
def test_a_message_ends_only_when_all_of_it_is_settled(database: Database, open_status: DeliveryStatus) -> None:
    messages = MessageRepo(database)
    message = make_message(
        database, make_event(database), status=MessageStatus.SENDING, audience_frozen_at=database.now()
    )
    make_delivery(database, message=message, status=DeliveryStatus.SENT)
    still_open = make_delivery(database, message=message, status=open_status)
    assert messages.mark_sent([message.id]) == []
    assert messages.mark_failed({message.id: "no email provider configured"}) == []
    assert read_message(database, message.id) == message
    set_columns(database, still_open, status=DeliveryStatus.UNKNOWN)
    set_batch(database, read_delivery(database, still_open).batch_id, state=BatchState.DONE)
    assert messages.mark_sent([message.id]) == [message.id]
    ended = read_message(database, message.id)
    assert ended.status is MessageStatus.SENT
    assert ended.finished_at is not None
    assert messages.mark_sent([message.id]) == []
    assert messages.mark_failed({message.id: "too late to fail"}) == []


def test_a_message_without_an_audience_yet_can_fail_and_not_be_sent(database: Database) -> None:
    messages, message = (
        MessageRepo(database),
        make_message(database, make_event(database), status=MessageStatus.SENDING),
    )
    assert messages.mark_sent([message.id]) == []
    assert messages.mark_failed({message.id: "template_broken"}) == [message.id]
    failed = read_message(database, message.id)
    assert (failed.status, failed.status_reason) == (MessageStatus.FAILED, "template_broken")


# Retries


def test_a_retry_opens_a_new_round_for_what_failed_and_may_succeed(database: Database) -> None:
    messages, message = MessageRepo(database), ended_message(database)
    failed = make_delivery(
        database,
        message=message,
        status=DeliveryStatus.FAILED,
        reason="gave_up",
        retryable=True,
        attempts=5,
        error_class="SMTPServerDisconnected",
        error_code="421",
        first_attempt_at=database.now(),
        settled_at=database.now(),
        provider="smtp",
        account="smtp:mail.example.com",
        attempted_at=database.now(),
        outcome="transient",
        provider_refusals=2,
        duration_ms=3,
    )
    permanent = make_delivery(database, message=message, status=DeliveryStatus.FAILED)
    others = [
        make_delivery(database, message=message, status=status, retryable=True)
        for status in DeliveryStatus
        if status is not DeliveryStatus.FAILED
    ]
    of_another = make_delivery(database, status=DeliveryStatus.FAILED, retryable=True)
    before = {delivery_id: read_delivery(database, delivery_id) for delivery_id in [permanent, *others, of_another]}

    assert messages.retry_failed(message.id) == 1
    row = read_delivery(database, failed)
    assert (row.status, row.round, row.attempts, row.retryable) == (DeliveryStatus.PENDING, 2, 0, False)
    assert {row.reason, row.error_class, row.error_code, row.first_attempt_at, row.settled_at} == {None}
    assert {row.attempted_at, row.outcome, row.duration_ms, row.provider_message_id} == {None}
    assert row.provider_refusals == 0
    assert [attempt.outcome for attempt in earlier_attempts(database, failed)] == ["transient"]
    assert {delivery_id: read_delivery(database, delivery_id) for delivery_id in before} == before
    again = read_message(database, message.id)
    assert (again.status, again.finished_at, again.asked_until) == (MessageStatus.SENDING, None, None)


def test_a_retry_with_nothing_to_try_leaves_the_message_as_it_ended(database: Database) -> None:
    messages, message = MessageRepo(database), ended_message(database, MessageStatus.FAILED)
    make_delivery(database, message=message, status=DeliveryStatus.FAILED)
    assert messages.retry_failed(message.id) == 0
    assert read_message(database, message.id) == message


def test_a_retry_can_be_narrowed_to_some_errors(database: Database) -> None:
    messages, message = MessageRepo(database), ended_message(database)
    throttled, dropped = (
        make_delivery(database, message=message, status=DeliveryStatus.FAILED, retryable=True, error_class=name)
        for name in ("rate_limit_exceeded", "SMTPServerDisconnected")
    )
    assert messages.retry_failed(message.id, RetryFilter(error_classes=frozenset({"rate_limit_exceeded"}))) == 1
    assert read_delivery(database, throttled).status == DeliveryStatus.PENDING
    assert read_delivery(database, dropped).status == DeliveryStatus.FAILED


def test_unknown_deliveries_are_tried_again_only_by_consent_and_after_an_hour(database: Database) -> None:
    messages, message, now = MessageRepo(database), ended_message(database), database.now()
    rested = make_delivery(database, message=message, status=DeliveryStatus.UNKNOWN, settled_at=now - TWO_HOURS)
    fresh = make_delivery(database, message=message, status=DeliveryStatus.UNKNOWN, settled_at=now)
    assert messages.retry_failed(message.id) == 0
    assert messages.retry_failed(message.id, RetryFilter(unknown_too=True)) == 1
    assert read_delivery(database, rested).status == DeliveryStatus.PENDING
    assert read_delivery(database, fresh).status == DeliveryStatus.UNKNOWN


@pytest.mark.parametrize("status", [status for status in MessageStatus if status not in {"sent", "failed"}])
def test_only_what_has_ended_can_be_retried(database: Database, status: MessageStatus) -> None:
    message = make_message(database, make_event(database), status=status)
    make_delivery(database, message=message, status=DeliveryStatus.FAILED, retryable=True)
    with pytest.raises(MessageNotRetryable, match=f"{message.id} is {status}"):
        MessageRepo(database).retry_failed(message.id)
    assert read_message(database, message.id) == message


def test_nothing_of_a_cancelled_event_is_retried_but_what_survives_it(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database, cancelled_at=database.now())
    dropped = make_message(database, event, status=MessageStatus.SENT)
    survivor = make_message(database, event, status=MessageStatus.SENT, survives_event_cancel=True)
    for message in (dropped, survivor):
        make_delivery(database, message=message, status=DeliveryStatus.FAILED, retryable=True)
    with pytest.raises(EventCancelled, match=str(event.id)):
        messages.retry_failed(dropped.id)
    assert messages.retry_failed(survivor.id) == 1
