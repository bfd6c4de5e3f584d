"""What hosts do with messages: write, list, edit, cancel, send now."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import (
    EDITABLE_STATUSES,
    CancelReason,
    HoldOwner,
    Message,
    MessageAudience,
    MessageChanges,
    MessageChannel,
    MessageDraft,
    MessageKind,
    MessageStatus,
)
from guestguard_dagster.domain.placeholders import TemplateRefused
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import (
    EventNotFound,
    MessageHeld,
    MessageNotEditable,
    MessageNotFound,
    ReminderExists,
    SendTimeMissing,
    StaleVersion,
    UserNotFound,
)
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster_tests.factories import make_event, make_message, make_user, read_message

CLOSED_STATUSES = [status for status in MessageStatus if status not in EDITABLE_STATUSES]
A_DAY = timedelta(days=1)


def a_draft(event: Event, number: int = 1, **fields: object) -> MessageDraft:
    values: dict[str, object] = {
        "event_id": event.id,
        "channel": MessageChannel.EMAIL,
        "audience": MessageAudience.ATTENDING,
        "subject": f"Subject {number}",
        "body": f"Body {number}",
        "send_at": event.starts_at - number * timedelta(hours=1),
    }
    return MessageDraft(**values | fields)  # type: ignore[arg-type]


def test_a_message_is_stored_as_it_was_written(database: Database) -> None:
    messages, event, author = MessageRepo(database), make_event(database), make_user(database)
    draft = a_draft(event, created_by=author.id, survives_event_cancel=True, channel=MessageChannel.SMS)
    message = messages.create(draft)
    assert messages.get(message.id) == message
    for name in ("event_id", "channel", "audience", "subject", "body", "send_at", "kind", "status", "created_by"):
        assert getattr(message, name) == getattr(draft, name)
    assert message.survives_event_cancel
    assert message.version == 1
    assert not message.send_at_is_custom


def test_a_batch_is_created_in_its_order_or_not_at_all(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    drafts = [a_draft(event, number) for number in range(1, 1201)]
    created = messages.create_batch(drafts)
    assert [message.subject for message in created] == [draft.subject for draft in drafts]
    reminder = a_draft(event, kind=MessageKind.REMINDER_7_DAY)
    with pytest.raises(ReminderExists, match="7-day reminder"):
        messages.create_batch([a_draft(event), reminder, reminder])
    assert len(messages.list_by_event(event.id, limit=2000)) == 1200
    assert messages.create_batch([]) == []


def test_a_message_needs_an_event_and_an_author_that_exist(database: Database) -> None:
    messages, event, missing = MessageRepo(database), make_event(database), uuid4()
    with pytest.raises(UserNotFound, match=str(missing)):
        messages.create(a_draft(event, created_by=missing))
    with pytest.raises(EventNotFound, match=str(missing)):
        messages.create_batch([a_draft(event), a_draft(event, event_id=missing)])
    assert messages.list_by_event(event.id) == []


def test_an_event_has_each_reminder_once(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    messages.create(a_draft(event, kind=MessageKind.REMINDER_DAY_OF))
    messages.create(a_draft(event, kind=MessageKind.REMINDER_1_DAY))
    messages.create(a_draft(make_event(database), kind=MessageKind.REMINDER_DAY_OF))
    with pytest.raises(ReminderExists, match=str(event.id)):
        messages.create(a_draft(event, kind=MessageKind.REMINDER_DAY_OF))


def test_what_makes_no_message_is_refused_before_it_reaches_the_database() -> None:
    event_id, naive = uuid4(), datetime(2031, 1, 1)  # noqa: DTZ001
    channel, audience = MessageChannel.EMAIL, MessageAudience.EVERYONE
    with pytest.raises(ValueError, match="needs its send_at"):
        MessageDraft(event_id, channel, audience, "Subject", "Body", None)
    with pytest.raises(ValueError, match="timezone"):
        MessageDraft(event_id, channel, audience, "Subject", "Body", naive)
    with pytest.raises(ValueError, match="not sent"):
        MessageDraft(event_id, channel, audience, "Subject", "Body", None, status=MessageStatus.SENT)
    with pytest.raises(ValueError, match="timezone"):
        MessageChanges(send_at=naive)
    with pytest.raises(ValueError, match="not sending"):
        MessageChanges(status=MessageStatus.SENDING)


@pytest.mark.parametrize("body", ["Hi {{guest}}", "{% if guest_name %}Hi{% endif %}", "{{ guest_name | upper }}"])
def test_a_text_that_could_not_be_rendered_is_never_saved(database: Database, body: str) -> None:
    messages, event = MessageRepo(database), make_event(database)
    kept = messages.create(a_draft(event))
    with pytest.raises(TemplateRefused, match="line 1"):
        messages.create_batch([a_draft(event, 2), a_draft(event, 3, body=body)])
    with pytest.raises(TemplateRefused, match="line 1"):
        messages.update(kept.id, MessageChanges(body=body), expected_version=kept.version)
    assert messages.list_by_event(event.id) == [kept]


def test_messages_are_listed_by_time_in_pages_with_undated_drafts_last(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    dated = [make_message(database, event, send_in=number * A_DAY) for number in (3, 1, 2)]
    undated = messages.create(a_draft(event, send_at=None, status=MessageStatus.DRAFT))
    make_message(database, make_event(database))
    expected = [dated[1].id, dated[2].id, dated[0].id, undated.id]
    assert [message.id for message in messages.list_by_event(event.id)] == expected
    first = messages.list_by_event(event.id, limit=3)
    rest = messages.list_by_event(event.id, after=first[-1].id, limit=3)
    assert [message.id for message in first + rest] == expected
    assert messages.list_by_event(event.id, statuses=[MessageStatus.DRAFT]) == [undated]


def test_an_edit_writes_what_it_names_and_nothing_else(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    message = make_message(
        database, event, send_in=A_DAY, asked_until=event.starts_at, not_before=event.starts_at, waiting_reason="quiet"
    )
    edited = messages.update(
        message.id, MessageChanges(subject="New", audience=MessageAudience.MAYBE), expected_version=1
    )
    assert (edited.subject, edited.audience, edited.version) == ("New", MessageAudience.MAYBE, 2)
    assert (edited.body, edited.send_at, edited.channel) == (message.body, message.send_at, message.channel)
    assert (edited.asked_until, edited.not_before, edited.waiting_reason) == (None, None, None)
    assert edited.updated_at > message.updated_at


def test_a_draft_is_scheduled_by_an_edit_that_gives_or_finds_its_time(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    draft = messages.create(a_draft(event, send_at=None, status=MessageStatus.DRAFT))
    with pytest.raises(SendTimeMissing, match=str(draft.id)):
        messages.update(draft.id, MessageChanges(status=MessageStatus.SCHEDULED), expected_version=1)
    send_at = datetime(2031, 1, 1, tzinfo=UTC)
    scheduled = messages.update(
        draft.id, MessageChanges(status=MessageStatus.SCHEDULED, send_at=send_at), expected_version=1
    )
    assert (scheduled.status, scheduled.send_at) == (MessageStatus.SCHEDULED, send_at)
    back = messages.update(draft.id, MessageChanges(status=MessageStatus.DRAFT), expected_version=2)
    assert back.status is MessageStatus.DRAFT
    assert messages.claim_for_sending([draft.id]) == []


def test_an_edit_of_what_somebody_changed_meanwhile_is_refused(database: Database) -> None:
    messages, message = MessageRepo(database), make_message(database, make_event(database))
    messages.update(message.id, MessageChanges(subject="First"), expected_version=1)
    with pytest.raises(StaleVersion, match=f"{message.id} is at version 2, not 1"):
        messages.update(message.id, MessageChanges(subject="Second"), expected_version=1)
    assert read_message(database, message.id).subject == "First"


@pytest.mark.parametrize("status", CLOSED_STATUSES)
def test_only_a_draft_or_scheduled_message_can_be_changed(database: Database, status: MessageStatus) -> None:
    messages, message = MessageRepo(database), make_message(database, make_event(database), status=status)
    changes: list[Callable[[], Message]] = [
        lambda: messages.update(message.id, MessageChanges(subject="New"), expected_version=1),
        lambda: messages.cancel(message.id),
        lambda: messages.promote_to_scheduled(message.id),
    ]
    for change in changes:
        with pytest.raises(MessageNotEditable, match=f"{message.id} is {status}") as refusal:
            change()
        assert refusal.value.status is status
    assert read_message(database, message.id) == message


def test_only_a_new_time_makes_a_reminder_the_hosts_own(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    reminder = make_message(database, event, kind=MessageKind.REMINDER_7_DAY, send_in=A_DAY)
    assert reminder.send_at is not None
    unchanged = MessageChanges(subject="New words", send_at=reminder.send_at)
    assert not messages.update(reminder.id, unchanged, expected_version=1).send_at_is_custom
    later = MessageChanges(send_at=reminder.send_at + A_DAY)
    assert messages.update(reminder.id, later, expected_version=2).send_at_is_custom
    broadcast = make_message(database, event, send_in=A_DAY)
    assert not messages.update(broadcast.id, later, expected_version=1).send_at_is_custom


def test_a_host_cancels_a_message_with_that_reason(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    for status in EDITABLE_STATUSES:
        message = make_message(database, event, status=status, send_in=A_DAY, asked_until=event.starts_at)
        cancelled = messages.cancel(message.id)
        assert (cancelled.status, cancelled.status_reason) == (MessageStatus.CANCELLED, CancelReason.HOST)
        assert cancelled.asked_until is None


def test_send_now_schedules_a_message_for_this_instant(database: Database) -> None:
    messages, event = MessageRepo(database), make_event(database)
    draft = messages.create(a_draft(event, send_at=None, status=MessageStatus.DRAFT))
    planned = make_message(database, event, send_in=A_DAY, asked_until=event.starts_at, not_before=event.starts_at)
    for message in (draft, planned):
        before = database.now()
        promoted = messages.promote_to_scheduled(message.id)
        assert promoted.status is MessageStatus.SCHEDULED
        assert promoted.send_at is not None
        assert before <= promoted.send_at <= database.now()
        assert (promoted.asked_until, promoted.not_before) == (None, None)
        assert promoted.version == message.version + 1
        assert messages.claim_for_sending([message.id]) == [message.id]


@pytest.mark.parametrize(("owner", "words"), [(HoldOwner.HOST, "a host"), (HoldOwner.RUN, "a terminated run")])
def test_send_now_on_a_held_message_says_so_and_changes_nothing(
    database: Database, owner: HoldOwner, words: str
) -> None:
    messages = MessageRepo(database)
    message = make_message(database, make_event(database), send_in=A_DAY)
    messages.hold([message.id], reason="stopped by Hanna Host", by=owner)
    held = read_message(database, message.id)

    with pytest.raises(MessageHeld, match=rf"{message.id} is on hold by {words} \(stopped by Hanna Host\); resume it"):
        messages.promote_to_scheduled(message.id)

    assert read_message(database, message.id) == held
    messages.resume(message.id)
    assert messages.promote_to_scheduled(message.id).held_by is None


def test_a_missing_message_is_named_by_id(database: Database) -> None:
    messages, missing = MessageRepo(database), uuid4()
    for asked in (
        lambda: messages.get(missing),
        lambda: messages.update(missing, MessageChanges(subject="New"), expected_version=1),
        lambda: messages.cancel(missing),
        lambda: messages.promote_to_scheduled(missing),
        lambda: messages.resume(missing),
        lambda: messages.retry_failed(missing),
    ):
        with pytest.raises(MessageNotFound, match=str(missing)):
            asked()
    assert messages.claim_for_sending([missing]) == messages.mark_sent([missing]) == []


def test_a_message_in_a_log_line_shows_no_body(database: Database) -> None:
    event = make_event(database)
    draft = a_draft(event, body="Behind the green door")
    shown = repr(draft) + repr(MessageRepo(database).create(draft)) + repr(MessageChanges(body="green"))
    assert "green" not in shown
