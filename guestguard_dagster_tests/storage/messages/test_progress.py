"""How far messages are, and their recipients by outcome."""

from uuid import uuid4

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.progress import ProgressRepo
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message


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


def test_what_is_under_way_is_told_apart_from_what_waits(database: Database) -> None:
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENDING)
    for status in (DeliveryStatus.SENDING, DeliveryStatus.PENDING, DeliveryStatus.SENT):
        make_deliveries(database, message, make_guests(database, event), status=status)
    assert ProgressRepo(database).outcomes([message.id]) == {
        DeliveryStatus.SENDING: 1,
        DeliveryStatus.PENDING: 1,
        DeliveryStatus.SENT: 1,
    }
