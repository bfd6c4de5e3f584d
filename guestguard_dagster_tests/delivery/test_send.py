"""A message from due to sent, against a real mail server."""

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.delivery.steps import send
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


def test_every_guest_gets_the_message_once(sending: SendContext, database: Database, mail_server: SmtpLoopback) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 120)
    message = make_message(database, event)

    report = send(sending, [message.id])

    assert mail_server.recipients() == {guest.email: 1 for guest in guests}
    assert report.outcomes["sent"] == 120
    assert read_message(database, message.id).status is MessageStatus.SENT
