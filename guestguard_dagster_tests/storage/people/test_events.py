from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from guestguard_dagster.domain.events import CollaboratorRole, Event, EventDraft
from guestguard_dagster.domain.messages import (
    CancelReason,
    Message,
    MessageChanges,
    MessageDraft,
    MessageKind,
    MessageStatus,
)
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import EventCancelled, EventNotFound, UserNotFound
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster_tests.factories import make_message, make_user, read_message, set_columns

REMINDERS = [kind for kind in MessageKind if kind is not MessageKind.BROADCAST]
A_DAY = timedelta(days=1)


# Far away, and with no clock change within a month.
SUMMER_EVENING = datetime(2061, 7, 15, 17, tzinfo=UTC)


def create_event(database: Database, *, starts_at: datetime = SUMMER_EVENING, owner: UUID | None = None) -> Event:
    draft = EventDraft("Garden Party", "Rose Garden", starts_at, "Europe/Berlin")
    return EventRepo(database).create(draft, owner or make_user(database).id)


def reminders_of(database: Database, event: Event) -> dict[MessageKind, Message]:
    messages = MessageRepo(database).list_by_event(event.id)
    return {message.kind: message for message in messages if message.kind is not MessageKind.BROADCAST}


def test_a_new_event_has_its_owner_and_four_reminders(database: Database) -> None:
    owner = make_user(database)
    event = create_event(database, owner=owner.id)
    events = EventRepo(database)
    assert events.get(event.id) == event
    assert events.host_of(event.id) == owner
    reminders = reminders_of(database, event)
    assert list(reminders) == REMINDERS
    assert all(message.status is MessageStatus.SCHEDULED for message in reminders.values())
    assert all(message.send_at is not None and message.send_at < event.starts_at for message in reminders.values())


def test_reminders_whose_time_is_past_are_not_created(database: Database) -> None:
    event = create_event(database, starts_at=database.now() + 4 * A_DAY)
    assert list(reminders_of(database, event)) == REMINDERS[1:]


def test_an_event_without_a_known_owner_is_not_created_at_all(database: Database) -> None:
    missing = uuid4()
    with pytest.raises(UserNotFound, match=str(missing)):
        create_event(database, owner=missing)
    assert MessageRepo(database).list_due(lookahead=timedelta(days=100 * 366)) == []


def test_moving_an_event_moves_its_unsent_reminders_as_new_versions_to_be_asked_for_anew(database: Database) -> None:
    event = create_event(database)
    before = reminders_of(database, event)
    for message in before.values():
        set_columns(database, message, asked_until=event.starts_at, not_before=event.starts_at, waiting_reason="quiet")
    moved = EventRepo(database).move(event.id, starts_at=event.starts_at + 7 * A_DAY)
    assert moved.starts_at == event.starts_at + 7 * A_DAY
    for kind, message in reminders_of(database, event).items():
        old = before[kind].send_at
        assert old is not None
        assert message.send_at == old + 7 * A_DAY
        assert message.version == before[kind].version + 1
        assert (message.asked_until, message.not_before, message.waiting_reason) == (None, None, None)


def test_an_event_moved_to_another_zone_has_its_reminders_at_the_local_times_of_that_zone(database: Database) -> None:
    event, zone = create_event(database), ZoneInfo("America/New_York")
    EventRepo(database).move(event.id, starts_at=event.starts_at, timezone="America/New_York")
    day_of = reminders_of(database, event)[MessageKind.REMINDER_DAY_OF].send_at
    assert day_of == event.starts_at.astimezone(zone).replace(hour=9)


def test_an_event_keeps_its_length_when_it_moves(database: Database) -> None:
    events, starts_at = EventRepo(database), datetime(2031, 6, 1, 18, tzinfo=UTC)
    draft = EventDraft("Party", "Here", starts_at, "UTC", ends_at=starts_at + timedelta(hours=5))
    event = events.create(draft, make_user(database).id)
    assert events.move(event.id, starts_at=starts_at + A_DAY).ends_at == starts_at + A_DAY + timedelta(hours=5)


def test_a_change_of_words_leaves_the_reminders_as_they_are(database: Database) -> None:
    event = create_event(database)
    before = reminders_of(database, event)
    draft = EventDraft("Winter Ball", "Castle", event.starts_at, event.timezone)
    changed = EventRepo(database).update(event.id, draft)
    assert (changed.name, changed.venue) == ("Winter Ball", "Castle")
    assert changed.updated_at > event.updated_at
    assert reminders_of(database, event) == before


def test_a_reminder_that_the_host_retimed_keeps_its_distance_to_the_start(database: Database) -> None:
    event, messages = create_event(database), MessageRepo(database)
    reminder = reminders_of(database, event)[MessageKind.REMINDER_1_DAY]
    retimed = messages.update(
        reminder.id,
        MessageChanges(send_at=event.starts_at - timedelta(hours=5)),
        expected_version=reminder.version,
    )
    assert retimed.send_at_is_custom
    EventRepo(database).move(event.id, starts_at=event.starts_at + A_DAY)
    assert read_message(database, reminder.id).send_at == event.starts_at + A_DAY - timedelta(hours=5)


def test_moving_an_event_leaves_alone_what_is_decided_and_what_the_host_timed(database: Database) -> None:
    event, messages = create_event(database), MessageRepo(database)
    reminders = reminders_of(database, event)
    set_columns(database, reminders[MessageKind.REMINDER_7_DAY], status=MessageStatus.SENT)
    set_columns(database, reminders[MessageKind.REMINDER_3_DAY_LAST_CALL], status=MessageStatus.SENDING)
    messages.cancel(reminders[MessageKind.REMINDER_1_DAY].id)
    broadcast = make_message(database, event, send_in=A_DAY)
    before = {message.id: message for message in messages.list_by_event(event.id)}
    EventRepo(database).move(event.id, starts_at=event.starts_at + 3 * A_DAY)
    changed = [message for message in messages.list_by_event(event.id) if message != before[message.id]]
    assert [message.kind for message in changed] == [MessageKind.REMINDER_DAY_OF]
    assert read_message(database, broadcast.id) == broadcast


def test_a_later_date_creates_and_rearms_the_reminders_that_had_no_time(database: Database) -> None:
    event, events = create_event(database, starts_at=database.now() + 4 * A_DAY), EventRepo(database)
    last_call = reminders_of(database, event)[MessageKind.REMINDER_3_DAY_LAST_CALL]
    events.move(event.id, starts_at=event.starts_at - timedelta(hours=60))
    expired = read_message(database, last_call.id)
    assert (expired.status, expired.status_reason) == (MessageStatus.CANCELLED, CancelReason.TIME_PASSED)

    events.move(event.id, starts_at=event.starts_at + 20 * A_DAY)
    reminders = reminders_of(database, event)
    assert set(reminders) == set(REMINDERS)
    rearmed = reminders[MessageKind.REMINDER_3_DAY_LAST_CALL]
    assert rearmed.id == last_call.id
    assert all(message.status is MessageStatus.SCHEDULED for message in reminders.values())
    assert all(message.status_reason is None for message in reminders.values())


def test_cancelling_an_event_cancels_what_is_unsent_but_for_broadcasts_meant_to_survive(database: Database) -> None:
    event, events, messages = create_event(database), EventRepo(database), MessageRepo(database)
    planned = make_message(database, event, send_in=A_DAY)
    draft = make_message(database, event, status=MessageStatus.DRAFT)
    survivor = make_message(database, event, send_in=A_DAY, survives_event_cancel=True)
    sending = make_message(database, event, status=MessageStatus.SENDING)
    refused = make_message(database, event, status=MessageStatus.CANCELLED, status_reason=CancelReason.HOST)
    other = make_message(database, create_event(database), send_in=A_DAY)

    cancelled = events.cancel(event.id)
    assert cancelled.cancelled_at is not None
    for message in [planned, draft, *reminders_of(database, event).values()]:
        now = read_message(database, message.id)
        assert (now.status, now.status_reason) == (MessageStatus.CANCELLED, CancelReason.EVENT_CANCELLED)
    for message in (survivor, sending, refused, other):
        assert read_message(database, message.id) == message

    assert events.cancel(event.id) == cancelled
    assert len(messages.list_by_event(event.id, statuses=[MessageStatus.CANCELLED])) == 7


def test_a_cancelled_event_takes_no_changes_and_no_new_messages(database: Database) -> None:
    event, events = create_event(database), EventRepo(database)
    events.cancel(event.id)
    with pytest.raises(EventCancelled, match=str(event.id)):
        events.move(event.id, starts_at=event.starts_at + A_DAY)
    with pytest.raises(EventCancelled, match=str(event.id)):
        events.update(event.id, EventDraft("New name", "Here", event.starts_at, event.timezone))
    reminder = reminders_of(database, event)[MessageKind.REMINDER_7_DAY]
    draft = MessageDraft(event.id, reminder.channel, reminder.audience, "Subject", "Body", event.starts_at)
    with pytest.raises(EventCancelled, match=str(event.id)):
        MessageRepo(database).create(draft)


def test_collaborators_are_listed_with_their_roles_and_the_owner_stays_the_owner(database: Database) -> None:
    event, events = create_event(database), EventRepo(database)
    owner, editor = events.host_of(event.id), make_user(database)
    events.add_collaborator(event.id, editor.id, CollaboratorRole.VIEWER)
    events.add_collaborator(event.id, editor.id, CollaboratorRole.EDITOR)
    events.add_collaborator(event.id, owner.id, CollaboratorRole.EDITOR)
    listed = [(collaborator.user, collaborator.role) for collaborator in events.collaborators(event.id)]
    assert listed == [(owner, CollaboratorRole.OWNER), (editor, CollaboratorRole.EDITOR)]
    with pytest.raises(ValueError, match="owner already"):
        events.add_collaborator(event.id, editor.id, CollaboratorRole.OWNER)
    with pytest.raises(UserNotFound):
        events.add_collaborator(event.id, uuid4(), CollaboratorRole.VIEWER)


def test_a_missing_event_is_named_by_id(database: Database) -> None:
    events, missing = EventRepo(database), uuid4()
    for asked in (
        lambda: events.get(missing),
        lambda: events.cancel(missing),
        lambda: events.host_of(missing),
        lambda: events.move(missing, starts_at=datetime(2031, 1, 1, tzinfo=UTC)),
        lambda: events.add_collaborator(missing, missing, CollaboratorRole.VIEWER),
    ):
        with pytest.raises(EventNotFound, match=str(missing)):
            asked()
