"""Audiences: everybody whom a message is for is frozen once, in batches, and checked before anything leaves."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Row, select, text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import Message, MessageAudience, MessageChannel, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.audiences import AudienceRepo, BatchSizes, Findings, Stage
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.deliveries.recording import Refusal
from guestguard_dagster.storage.tables.deliveries import message_deliveries
from guestguard_dagster_tests.factories import (
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    read_message,
    set_columns,
)
from guestguard_dagster_tests.storage.handing_off import HandingOff, batches_of, ids_of, statuses

SIZES = BatchSizes(email=3, sms=2)


@pytest.fixture
def audiences(database: Database) -> AudienceRepo:
    return AudienceRepo(database)


def freeze(audiences: AudienceRepo, *messages: Message, chunk: int = 1000) -> None:
    """All of them, to the end."""
    while audiences.load_recipients([message.id for message in messages], chunk=chunk, sizes=SIZES):
        pass


def rows_of(database: Database, message: Message) -> list[Row[Any]]:
    query = select(message_deliveries).where(message_deliveries.c.message_id == message.id)
    with database.transaction() as connection:
        return list(connection.execute(query.order_by(message_deliveries.c.id)))


def a_message(database: Database, guests: int, **columns: Any) -> Message:
    """A message that is being sent to so many guests, nobody frozen yet."""
    event = make_event(database)
    make_guests(database, event, guests)
    return make_message(database, event, status=MessageStatus.SENDING, **columns)


class TestFreezing:
    @pytest.mark.parametrize("audience", MessageAudience)
    def test_the_audience_is_who_the_message_is_for(
        self, audiences: AudienceRepo, database: Database, audience: MessageAudience
    ) -> None:
        event, elsewhere = make_event(database), make_event(database)
        guests = {rsvp: make_guests(database, event, 2, rsvp_status=rsvp) for rsvp in RsvpStatus}
        for rsvp in RsvpStatus:
            make_guests(database, event, rsvp_status=rsvp, removed_at=database.now())
            make_guests(database, elsewhere, rsvp_status=rsvp)
        message = make_message(
            database, event, audience=audience, status=MessageStatus.SENDING, channel=MessageChannel.SMS
        )

        freeze(audiences, message)

        wanted = [
            guest.id
            for rsvp, some in guests.items()
            if audience is MessageAudience.EVERYONE or rsvp.value == audience.value
            for guest in some
        ]
        rows = rows_of(database, message)
        assert sorted(row.guest_id for row in rows) == sorted(wanted)
        assert {(row.message_id, row.event_id, row.channel, row.status) for row in rows} == {
            (message.id, event.id, "sms", "pending")
        }
        assert audiences.recipients_of([message.id]) == {message.id: len(wanted)}
        frozen = read_message(database, message.id)
        assert frozen.recipient_count == len(wanted)
        assert frozen.audience_frozen_at is not None

    def test_an_audience_is_frozen_once(self, audiences: AudienceRepo, database: Database) -> None:
        message = a_message(database, 2)
        freeze(audiences, message)
        frozen_at = read_message(database, message.id).audience_frozen_at

        with database.transaction() as connection:
            event_id = message.event_id
            connection.execute(
                text(
                    "INSERT INTO guests (event_id, name, rsvp_token) "
                    "VALUES (:event, 'Late', 'late'), (:event, 'Later', 'later')"
                ),
                {"event": event_id},
            )

        assert audiences.load_recipients([message.id], chunk=10, sizes=SIZES) == 0
        assert len(rows_of(database, message)) == 2
        assert read_message(database, message.id).audience_frozen_at == frozen_at

    def test_an_empty_audience_is_frozen_too(self, audiences: AudienceRepo, database: Database) -> None:
        message = a_message(database, 0)
        freeze(audiences, message)
        assert audiences.recipients_of([message.id]) == {message.id: 0}
        assert read_message(database, message.id).recipient_count == 0
        assert batches_of(database, message) == []

    def test_only_what_is_being_sent_and_not_held_is_frozen(self, audiences: AudienceRepo, database: Database) -> None:
        event = make_event(database)
        others = [make_message(database, event, status=s) for s in MessageStatus if s is not MessageStatus.SENDING]
        others.append(make_message(database, event, status=MessageStatus.SENDING, held_at=database.now()))
        ids = [*(message.id for message in others), uuid4()]
        assert audiences.load_recipients(ids, chunk=10, sizes=SIZES) == 0
        assert audiences.recipients_of(ids) == {}
        assert audiences.stages(ids) == {}
        assert all(read_message(database, message.id).audience_frozen_at is None for message in others)

    def test_a_message_that_somebody_has_locked_is_left_for_the_next_step(
        self, audiences: AudienceRepo, database: Database
    ) -> None:
        locked, free = a_message(database, 1), a_message(database, 1)
        with database.transaction() as elsewhere:
            elsewhere.execute(
                text("SELECT id FROM scheduled_messages WHERE id = :id FOR NO KEY UPDATE"), {"id": locked.id}
            )
            assert audiences.load_recipients([locked.id, free.id], chunk=10, sizes=SIZES) == 1
        assert audiences.stages([locked.id, free.id]) == {locked.id: Stage.UNFROZEN, free.id: Stage.UNCHECKED}

    @pytest.mark.parametrize("chunk", [1, 4, 10, 11])
    def test_chunk_by_chunk_every_guest_is_frozen_once_in_batches_of_a_bounded_size(
        self, audiences: AudienceRepo, database: Database, chunk: int
    ) -> None:
        message = a_message(database, 10)
        freeze(audiences, message, chunk=chunk)
        rows = rows_of(database, message)
        assert len({row.guest_id for row in rows}) == len(rows) == 10
        batches = batches_of(database, message)
        assert sum(batch.size for batch in batches) == 10
        assert all(0 < batch.size <= SIZES.email for batch in batches)
        for batch in batches:
            assert (batch.queue_id, batch.state) == (message.id, "pending")
            assert [row.batch_id for row in rows].count(batch.id) == batch.size
        assert read_message(database, message.id).recipient_count == 10

    def test_how_far_it_is_is_known_after_every_chunk(self, audiences: AudienceRepo, database: Database) -> None:
        message = a_message(database, 5)
        counts = []
        while audiences.load_recipients([message.id], chunk=2, sizes=SIZES):
            counts.append(audiences.recipients_of([message.id])[message.id])
            if read_message(database, message.id).audience_frozen_at is None:
                assert audiences.stages([message.id]) == {message.id: Stage.UNFROZEN}
        assert counts == [2, 4, 5]
        assert audiences.stages([message.id]) == {message.id: Stage.UNCHECKED}

    def test_a_guest_who_is_removed_between_two_chunks_is_left_out(
        self, audiences: AudienceRepo, database: Database
    ) -> None:
        event = make_event(database)
        guests = sorted(make_guests(database, event, 4), key=lambda guest: guest.id)
        message = make_message(database, event, status=MessageStatus.SENDING)
        audiences.load_recipients([message.id], chunk=2, sizes=SIZES)
        set_columns(database, guests[2], removed_at=database.now())
        freeze(audiences, message, chunk=2)
        assert {row.guest_id for row in rows_of(database, message)} == {guests[0].id, guests[1].id, guests[3].id}
        assert read_message(database, message.id).recipient_count == 3

    def test_processes_that_freeze_in_chunks_at_once_write_each_guest_once(self, database: Database) -> None:
        messages = [a_message(database, 50), a_message(database, 23)]
        start = Barrier(4)

        def freeze_all(_: int) -> None:
            audiences = AudienceRepo(database)
            start.wait()
            while Stage.UNFROZEN in audiences.stages([message.id for message in messages]).values():
                audiences.load_recipients([message.id for message in messages], chunk=7, sizes=SIZES)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(freeze_all, range(4)))
        for message, count in zip(messages, (50, 23), strict=True):
            rows = rows_of(database, message)
            assert len({row.guest_id for row in rows}) == len(rows) == count
            assert read_message(database, message.id).recipient_count == count
            assert sum(batch.size for batch in batches_of(database, message)) == count
        leased = ids_of(HandingOff(database).lease(*messages))
        assert len(set(leased)) == len(leased) == 73

    def test_a_guest_who_has_a_delivery_already_keeps_it_and_gets_no_other(
        self, audiences: AudienceRepo, database: Database
    ) -> None:
        event = make_event(database)
        guests = make_guests(database, event, 5)
        message = make_message(database, event, status=MessageStatus.SENDING)
        [known] = make_deliveries(database, message, guests[2:3], status=DeliveryStatus.SENT)

        freeze(audiences, message, chunk=2)

        rows = rows_of(database, message)
        assert sorted(row.guest_id for row in rows) == sorted(guest.id for guest in guests)
        assert statuses(database, [known]) == ["sent"]
        assert known not in ids_of(HandingOff(database).lease(message))
        assert read_message(database, message.id).recipient_count == 5, "each guest is counted once"

    def test_who_was_written_to_and_is_no_longer_in_the_audience_is_counted_too(
        self, audiences: AudienceRepo, database: Database
    ) -> None:
        event = make_event(database)
        guests = make_guests(database, event, 4)
        message = make_message(database, event, status=MessageStatus.SENDING)
        make_deliveries(database, message, guests[:1], status=DeliveryStatus.SENT)
        set_columns(database, guests[0], removed_at=database.now())
        freeze(audiences, message, chunk=2)
        assert len(rows_of(database, message)) == 4
        assert read_message(database, message.id).recipient_count == 4

    def test_a_batch_of_guests_who_all_have_a_delivery_already_is_leased_empty(
        self, audiences: AudienceRepo, database: Database
    ) -> None:
        event = make_event(database)
        guests = make_guests(database, event, 2)
        message = make_message(database, event, status=MessageStatus.SENDING)
        make_deliveries(database, message, guests, status=DeliveryStatus.UNKNOWN)
        freeze(audiences, message)
        assert ids_of(HandingOff(database).lease(message)) == ()
        assert read_message(database, message.id).recipient_count == 2

    def test_each_channel_has_batches_of_its_own_size(self, audiences: AudienceRepo, database: Database) -> None:
        by_mail, by_text = a_message(database, 5), a_message(database, 5, channel=MessageChannel.SMS)
        freeze(audiences, by_mail, by_text)
        assert [batch.size for batch in batches_of(database, by_mail)] == [3, 2]
        assert [batch.size for batch in batches_of(database, by_text)] == [2, 2, 1]


def nothing(_: Sequence[RecipientFacts]) -> Findings:
    return [], []


def refusing(*delivery_ids: int) -> Callable[[Sequence[RecipientFacts]], Findings]:
    def find(recipients: Sequence[RecipientFacts]) -> Findings:
        refused = [facts.delivery_id for facts in recipients if facts.delivery_id in delivery_ids]
        return [Refusal(delivery_id, DeliveryStatus.SKIPPED, "no_address") for delivery_id in refused], []

    return find


class TestChecking:
    def frozen(self, audiences: AudienceRepo, database: Database, guests: int) -> Message:
        message = a_message(database, guests)
        freeze(audiences, message)
        return message

    @pytest.mark.parametrize("page", [1, 3, 7, 8])
    def test_every_recipient_is_looked_at_once_page_by_page(
        self, audiences: AudienceRepo, database: Database, page: int
    ) -> None:
        messages = [self.frozen(audiences, database, 7), self.frozen(audiences, database, 2)]
        seen: list[int] = []

        def look(recipients: Sequence[RecipientFacts]) -> Findings:
            seen.extend(facts.delivery_id for facts in recipients)
            return [], []

        while audiences.check([message.id for message in messages], page=page, find=look):
            pass

        everybody = [row.id for message in messages for row in rows_of(database, message)]
        assert sorted(seen) == sorted(everybody)
        assert set(audiences.stages([message.id for message in messages]).values()) == {Stage.READY}

    def test_who_is_refused_is_settled_and_the_others_stay(self, audiences: AudienceRepo, database: Database) -> None:
        message = self.frozen(audiences, database, 3)
        refused, *others = [row.id for row in rows_of(database, message)]
        audiences.check([message.id], page=10, find=refusing(refused))
        assert statuses(database, [refused, *others]) == ["skipped", "pending", "pending"]
        assert read_message(database, message.id).preflighted_at is not None

    def test_only_open_deliveries_are_looked_at(self, audiences: AudienceRepo, database: Database) -> None:
        message = self.frozen(audiences, database, 2)
        settled, still_open = (row.id for row in rows_of(database, message))
        set_columns(database, settled, status=DeliveryStatus.SENT)
        seen: list[int] = []

        def look(recipients: Sequence[RecipientFacts]) -> Findings:
            seen.extend(facts.delivery_id for facts in recipients)
            return [], []

        audiences.check([message.id], page=10, find=look)
        assert seen == [still_open]

    def test_only_what_is_frozen_being_sent_and_unchecked_is_checked(
        self, audiences: AudienceRepo, database: Database
    ) -> None:
        unfrozen, checked, cancelled, held = (a_message(database, 1) for _ in range(4))
        freeze(audiences, checked, cancelled, held)
        audiences.check([checked.id], page=10, find=nothing)
        checked_at = read_message(database, checked.id).preflighted_at
        set_columns(database, cancelled, status=MessageStatus.CANCELLED)
        set_columns(database, held, held_at=database.now())
        ids = [unfrozen.id, checked.id, cancelled.id, held.id]
        assert audiences.check(ids, page=10, find=nothing) == 0
        assert [read_message(database, id).preflighted_at for id in ids] == [None, checked_at, None, None]

    def test_a_message_that_is_stopped_meanwhile_is_not_checked_any_further(
        self, audiences: AudienceRepo, database: Database
    ) -> None:
        stopped, fine = self.frozen(audiences, database, 2), self.frozen(audiences, database, 2)

        def stop(_: Sequence[RecipientFacts]) -> tuple[Sequence[Refusal], Sequence[UUID]]:
            return [], [stopped.id]

        assert audiences.check([stopped.id, fine.id], page=10, find=stop) == 1
        assert read_message(database, stopped.id).preflighted_at is None
        assert read_message(database, fine.id).preflighted_at is not None

    def test_a_check_that_fails_settles_nobody(self, audiences: AudienceRepo, database: Database) -> None:
        message = self.frozen(audiences, database, 2)

        def fail(_: Sequence[RecipientFacts]) -> Findings:
            raise RuntimeError("the check itself is broken")

        with pytest.raises(RuntimeError):
            audiences.check([message.id], page=10, find=fail)
        assert read_message(database, message.id).preflighted_at is None
        assert {row.status for row in rows_of(database, message)} == {"pending"}

    def test_an_empty_audience_is_checked_at_once(self, audiences: AudienceRepo, database: Database) -> None:
        message = self.frozen(audiences, database, 0)
        assert audiences.check([message.id], page=10, find=nothing) == 1
        assert audiences.stages([message.id]) == {message.id: Stage.READY}
