"""Reports and alerts go through the engine: each person gets one, whoever runs when and however often."""

from collections import Counter
from threading import Event

from sqlalchemy import text

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.suppressions import SuppressionReason, for_host
from guestguard_dagster.domain.system_mail import SystemMail, SystemMailKind
from guestguard_dagster.operations.system_mail import SYSTEM_MAIL_QUEUES, send_waiting_mail
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.system_mail import post
from guestguard_dagster.storage.people.users import UserRepo
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener, smtp_settings


def system_mail(address: str, *, occasion: str = "daily report of 2026-03-10") -> SystemMail:
    return SystemMail(
        SystemMailKind.REPORT,
        occasion,
        address,
        "Olga Operator",
        "Delivery report",
        "All is well.",
        "<p>All is well.</p>",
    )


def write(database: Database, *mails: SystemMail) -> int:
    with database.transaction() as connection:
        return post(connection, mails)


def test_everybody_gets_the_mail_that_was_written_for_them(
    database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    assert write(database, system_mail("ops@example.com"), system_mail("boss@example.com")) == 2

    report = send_waiting_mail(sending, Event())

    assert report.outcomes == Counter(sent=2)
    assert report.left == 0
    assert mail_server.recipients() == {"ops@example.com": 1, "boss@example.com": 1}


def test_nobody_gets_two_mails_about_the_same(
    database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    write(database, system_mail("ops@example.com"))
    send_waiting_mail(sending, Event())

    assert write(database, system_mail("OPS@example.com"), system_mail("ops@example.com", occasion="another day")) == 1
    send_waiting_mail(sending, Event())
    send_waiting_mail(sending, Event())

    assert mail_server.recipients() == {"ops@example.com": 2}


def test_a_mail_whose_hand_off_was_interrupted_is_not_mailed_again(
    database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    write(database, system_mail("ops@example.com"))
    sending.batches.lease([SYSTEM_MAIL_QUEUES[0]], limit=1, per_queue=1, duration=sending.lease_time)
    with database.transaction() as connection:
        connection.execute(
            text(
                "UPDATE delivery_batches SET state = 'sending', "
                "lease_expires_at = clock_timestamp() - interval '1 minute'"
            )
        )

    report = send_waiting_mail(sending, Event())

    assert report.outcomes == Counter(unknown=1)
    assert mail_server.recipients() == {}


def test_an_address_that_bounces_for_everybody_gets_no_system_mail(
    database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    host = UserRepo(database).get_or_create(email="host@example.com", name="Hanna Host")
    write(database, system_mail("gone@example.com"), system_mail(host.email))
    sending.suppressions.add(
        MessageChannel.EMAIL, "gone@example.com", reason=SuppressionReason.HARD_BOUNCE, source="smtp"
    )
    sending.suppressions.add(
        MessageChannel.EMAIL, host.email, scope=for_host(host.id), reason=SuppressionReason.UNSUBSCRIBE, source="guest"
    )

    send_waiting_mail(sending, Event())

    assert mail_server.recipients() == {"host@example.com": 1}


def test_without_a_provider_nothing_leaves(database: Database, open_sending: SendContextOpener) -> None:
    write(database, system_mail("ops@example.com"))

    assert send_waiting_mail(open_sending(), Event()).outcomes == Counter(dry_run=1)


def test_two_runs_share_the_mails(
    database: Database, open_sending: SendContextOpener, mail_server: SmtpLoopback
) -> None:
    write(database, *(system_mail(f"ops-{number}@example.com") for number in range(120)))

    for _ in range(2):
        send_waiting_mail(open_sending(smtp_settings(mail_server)), Event())

    assert set(mail_server.recipients().values()) == {1}
    assert len(mail_server.recipients()) == 120
