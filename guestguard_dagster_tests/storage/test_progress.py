"""How far messages are, and their recipients by outcome."""

from uuid import uuid4

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.progress import ProgressRepo
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message, read_message


def test_messages_and_their_recipients_are_counted_by_how_they_stand(database: Database) -> None:
    progress, event = ProgressRepo(database), make_event(database)
    sent, sending = (
        make_message(database, event, status=status) for status in (MessageStatus.SENT, MessageStatus.SENDING)
    )
    for message, status in (
        (sent, DeliveryStatus.SENT),
        (sent, DeliveryStatus.FAILED),
        (sending, DeliveryStatus.PENDING),
    ):
        make_deliveries(database, message, make_guests(database, event), status=status)
    ids = [sent.id, sending.id, uuid4()]

    assert progress.statuses(ids) == {sent.id: MessageStatus.SENT, sending.id: MessageStatus.SENDING}
    assert progress.outcomes(ids) == {
        DeliveryStatus.SENT: 1,
        DeliveryStatus.FAILED: 1,
        DeliveryStatus.PENDING: 1,
    }


def test_only_messages_that_are_being_sent_are_marked_as_checked(database: Database) -> None:
    event = make_event(database)
    sending, cancelled = make_message(database, event, status=MessageStatus.SENDING), make_message(database, event)
    ProgressRepo(database).mark_preflighted([sending.id, cancelled.id])
    assert read_message(database, sending.id).preflighted_at is not None
    assert read_message(database, cancelled.id).preflighted_at is None
