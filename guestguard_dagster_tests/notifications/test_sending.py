"""Events of a real stream through a real database to a real mail server: one mail each, whatever happens."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from uuid import uuid4

import icalendar
import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.notifications import Arrival, NotificationType
from guestguard_dagster.domain.suppressions import EVERY_HOST, for_host
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.notifications import sending as notification_sending
from guestguard_dagster.notifications.intake import receive, replay
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.notifications.types.fraud_alert import FRAUD_ALERT
from guestguard_dagster.notifications.types.invitation import INVITATION
from guestguard_dagster.settings import FRAUD_ALERT_FROM_SCORE
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.notifications.dead_letters import DeadLetterRepo, Selection
from guestguard_dagster.storage.notifications.repo import Fate
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster.storage.tables.notifications import notifications
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster.streams.messages import Backlog
from guestguard_dagster_tests.crash.passing_time import let_waits_pass
from guestguard_dagster_tests.factories import make_event, make_guests, make_user, set_columns
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.notifications.events import (
    RULES,
    LosingAnswers,
    WatchingAnswers,
    dead_letters_of,
    notifications_of,
    run_once,
    statuses_of,
)
from guestguard_dagster_tests.send_contexts import SendContextOpener, smtp_settings
from guestguard_dagster_tests.streams.events import (
    GO_ZERO_TIME,
    connect,
    declare,
    fraud_scored,
    go_time,
    impatient,
    invitation_send,
    rsvp_confirmed,
)

RSVP = CONFIRMATION.type
FRAUD = FRAUD_ALERT.type
INVITE = INVITATION.type


@pytest.fixture
def stream(nats_server: NatsServer) -> Iterator[JetStream]:
    """What is not acknowledged comes again after half a second."""
    with connect(nats_server.url, impatient(declare())) as stream:
        stream.survey()
        yield stream


def test_an_answer_becomes_a_confirmation_with_a_calendar_file(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event, rsvp_status=RsvpStatus.PENDING)
    published = stream.publish(RSVP, rsvp_confirmed(guest, event, plus_ones=2.0))

    report = run_once(sending, stream)

    (row,) = notifications_of(database)
    assert (row.type, row.channel, row.status) == ("confirmation", "email", "sent")
    assert (row.event_id, row.guest_id) == (event.id, guest.id)
    assert (row.stream, row.sequence) == (published.stream, published.sequence)
    assert row.error is None
    (accepted,) = mail_server.accepted
    mail = parse(accepted.content)
    assert (mail["Subject"], accepted.recipients) == ("Your RSVP is confirmed", (guest.email,))
    assert mail["List-Unsubscribe"] is None
    text = _text(mail)
    assert "You're going, with 2 more guests" in text
    (attached,) = mail.iter_attachments()
    assert attached.get_content_type() == "text/calendar"
    assert attached.get_param("method") == "PUBLISH"
    (entry,) = icalendar.Calendar.from_ical(attached.get_content()).walk("VEVENT")
    assert entry.decoded("DTSTART") == event.starts_at.replace(microsecond=0)
    known = GuestRepo(database).get(guest.id)
    assert (known.rsvp_status, known.plus_ones) == (RsvpStatus.ATTENDING, 2)
    assert report.events == {"recorded": 1}
    assert stream.survey().backlogs[RSVP] == Backlog(0, 0)


def test_only_the_newest_answer_is_kept_and_every_answer_is_confirmed(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event, rsvp_status=RsvpStatus.PENDING)
    now, id = datetime.now(UTC), str(uuid4())
    later = rsvp_confirmed(guest, event, rsvp_id=id, response="declined", submitted_at=go_time(now))
    earlier = rsvp_confirmed(guest, event, rsvp_id=id, submitted_at=go_time(now - timedelta(minutes=1)))
    stream.publish_many([(RSVP, later, None), (RSVP, earlier, None)])

    run_once(sending, stream)

    assert GuestRepo(database).get(guest.id).rsvp_status is RsvpStatus.DECLINED
    assert mail_server.recipients() == {guest.email: 2}
    assert sorted(len(list(parse(mail.content).iter_attachments())) for mail in mail_server.accepted) == [0, 1]


def test_a_suspicious_visit_is_told_to_the_host_from_the_threshold_up(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    host = make_user(database, name="Robin", email="robin@example.com")
    event = make_event(database, owner=host)
    (guest,) = make_guests(database, event, name="Deniz")
    for score in (FRAUD_ALERT_FROM_SCORE - 0.1, FRAUD_ALERT_FROM_SCORE, 87.5):
        stream.publish(FRAUD, fraud_scored(guest, event, score=score, reasons=["new_device", "Came from far away"]))
    stream.publish(FRAUD, fraud_scored(None, event, score=99, reasons=None, risk=None))

    report = run_once(sending, stream, FRAUD)

    assert mail_server.recipients() == {"robin@example.com": 3}
    assert [(row.status, row.reason) for row in notifications_of(database)] == [
        ("skipped", "below_threshold"),
        ("sent", None),
        ("sent", None),
        ("sent", None),
    ]
    assert report.events == {"not_needed": 1, "recorded": 3}
    mails = [parse(mail.content) for mail in mail_server.accepted]
    assert {mail["Subject"] for mail in mails} == {"Suspicious access attempt detected"}
    (text,) = (text for text in map(_text, mails) if "88 of 100" in text)
    assert all(part in text for part in ("Deniz", "Risk: high", "New device", "Came from far away"))


def test_an_invitation_goes_to_the_address_in_the_event(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event = make_event(database, name="Our Wedding")
    guests = make_guests(database, event, 3)
    stream.publish(INVITE, invitation_send(guests[0], event))
    stream.publish(INVITE, invitation_send(guests[1], event, guest_email=""))
    stream.publish(INVITE, invitation_send(guests[2], event, link="javascript:x", event_date=GO_ZERO_TIME))

    run_once(sending, stream, INVITE)

    assert mail_server.recipients() == {guests[0].email: 1, guests[2].email: 1}
    assert [(row.status, row.reason) for row in notifications_of(database)] == [
        ("sent", None),
        ("skipped", "host_managed"),
        ("sent", None),
    ]
    by_guest = {mail.recipients[0]: parse(mail.content) for mail in mail_server.accepted}
    first, second = by_guest[guests[0].email or ""], by_guest[guests[2].email or ""]
    assert first["Subject"] == "You're invited — Our Wedding"
    assert "https://rsvp.example.com/i/secret" in _text(first, "html")
    assert first["List-Unsubscribe"] is not None
    html = _text(second, "html")
    assert "javascript:" not in html
    assert guests[2].rsvp_token in html
    assert "0001" not in html


def test_an_event_that_is_delivered_again_and_again_is_one_mail(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 5)
    stream.publish_many([(RSVP, rsvp_confirmed(guest, event), None) for guest in guests])
    losing = LosingAnswers(stream)

    while losing.lost < 15:
        run_once(sending, losing)
    run_once(sending, stream, linger=timedelta(seconds=1))

    assert mail_server.recipients() == {guest.email: 1 for guest in guests}
    assert statuses_of(database) == {"sent": 5}
    assert dead_letters_of(database) == []
    assert stream.survey().backlogs[RSVP] == Backlog(0, 0)


def test_an_event_is_acknowledged_only_once_its_row_is_there_for_everybody_to_see(
    database: Database, sending: SendContext, stream: JetStream
) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 20)
    answers = [(RSVP, rsvp_confirmed(guest, event), None) for guest in guests]
    stream.publish_many([*answers, (RSVP, b"nonsense", None), answers[0]])
    watching = WatchingAnswers(stream, database)

    run_once(sending, watching)

    assert watching.unseen == []
    assert stream.survey().backlogs[RSVP] == Backlog(0, 0)
    assert statuses_of(database) == {"sent": 20, "duplicate": 1}


def test_two_event_runs_at_once_send_one_mail_per_event(
    database: Database,
    open_sending: SendContextOpener,
    nats_server: NatsServer,
    stream: JetStream,
    mail_server: SmtpLoopback,
) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 60)
    events = [rsvp_confirmed(guest, event) for guest in guests]
    stream.publish_many([(RSVP, data, None) for data in [*events, *events]])
    contexts = [open_sending(smtp_settings(mail_server)) for _ in range(2)]

    def work(sending: SendContext) -> None:
        with connect(nats_server.url, stream.declaration) as own:
            run_once(sending, own, linger=timedelta(milliseconds=200))

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, contexts))

    assert mail_server.recipients() == {guest.email: 1 for guest in guests}
    assert statuses_of(database) == {"sent": 60, "duplicate": 60}


@pytest.mark.parametrize(("kind", "window"), [(FRAUD, timedelta(hours=1)), (INVITE, timedelta(minutes=10))])
def test_the_same_payload_is_one_event_within_its_window_of_jetstream_time(
    database: Database, sending: SendContext, kind: NotificationType, window: timedelta
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    data = fraud_scored(guest, event) if kind == FRAUD else invitation_send(guest, event)
    start = datetime(2030, 1, 1, tzinfo=UTC)
    fates = [
        _fate(sending, kind, data, sequence, start + after)
        for sequence, after in enumerate((timedelta(), window, window + timedelta(microseconds=1), window * 2))
    ]
    assert fates == [Fate.RECORDED, Fate.DUPLICATE, Fate.RECORDED, Fate.DUPLICATE]


def test_an_answer_is_one_event_for_ever_and_a_changed_answer_another(database: Database, sending: SendContext) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    start = datetime(2030, 1, 1, tzinfo=UTC)
    yes = rsvp_confirmed(guest, event, rsvp_id="r", submitted_at=go_time(start))
    no = rsvp_confirmed(guest, event, rsvp_id="r", response="declined", submitted_at=go_time(start))
    year = timedelta(days=365)
    assert _fate(sending, RSVP, yes, 1, start) is Fate.RECORDED
    assert _fate(sending, RSVP, yes, 2, start + year) is Fate.DUPLICATE
    assert _fate(sending, RSVP, no, 3, start + year) is Fate.RECORDED


def test_a_publishers_own_id_decides_where_there_is_one(database: Database, sending: SendContext) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    data, start = invitation_send(guest, event), datetime(2030, 1, 1, tzinfo=UTC)
    assert _fate(sending, INVITE, data, 1, start, message_id="a") is Fate.RECORDED
    assert _fate(sending, INVITE, data, 2, start, message_id="b") is Fate.RECORDED
    assert _fate(sending, INVITE, data, 3, start + timedelta(days=9), message_id="a") is Fate.DUPLICATE


def test_a_stream_that_was_made_anew_is_not_taken_for_the_old_one(database: Database, sending: SendContext) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    start = datetime(2030, 1, 1, tzinfo=UTC)
    assert _fate(sending, RSVP, rsvp_confirmed(guest, event), 1, start) is Fate.RECORDED
    assert _fate(sending, RSVP, rsvp_confirmed(guest, event), 1, start + timedelta(days=1)) is Fate.RECORDED


def test_what_can_never_work_is_a_dead_letter_at_once(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    bad = [b"", b"\xff\x00", b"[]", b"{}", rsvp_confirmed(guest, event, response="perhaps"), b"[" * 50_000]
    stream.publish_many([(RSVP, data, None) for data in bad] + [(RSVP, rsvp_confirmed(guest, event), None)])

    report = run_once(sending, stream)

    letters = dead_letters_of(database)
    assert [bytes(letter.payload) for letter in letters] == bad
    assert {letter.deliveries for letter in letters} == {1}
    assert letters[4].reason == "response: Value error, must be attending, declined or maybe"
    assert mail_server.recipients() == {guest.email: 1}
    assert report.events == {"recorded": 1, "dead_letter": len(bad)}
    assert stream.survey().backlogs[RSVP] == Backlog(0, 0)


def test_text_that_the_database_cannot_hold_is_cleaned_before(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    stream.publish(INVITE, invitation_send(guest, event, guest_name="A\x00da \ud800\u202e", host_name=None))
    run_once(sending, stream, INVITE)
    assert statuses_of(database) == {"sent": 1}
    assert parse(mail_server.accepted[0].content)["To"] == f"Ada <{guest.email}>"


def test_an_unknown_guest_is_waited_for_and_then_dead(
    database: Database,
    sending: SendContext,
    stream: JetStream,
    mail_server: SmtpLoopback,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guestguard_dagster.notifications.intake._FIRST_RETRY", timedelta(milliseconds=1))
    event, other = make_event(database), make_event(database)
    (elsewhere,) = make_guests(database, other)
    stream.publish(RSVP, rsvp_confirmed(uuid4(), event))
    stream.publish(RSVP, rsvp_confirmed(elsewhere, event))
    stream.publish(RSVP, rsvp_confirmed(elsewhere, uuid4()))

    first = run_once(sending, stream, rules=replace(RULES, max_deliveries=4), linger=timedelta(seconds=1))

    assert first.events == {"unknown_guest": 12, "retried_later": 9, "dead_letter": 3}
    assert [letter.deliveries for letter in dead_letters_of(database)] == [4, 4, 4]
    assert notifications_of(database) == []
    assert stream.survey().backlogs[RSVP] == Backlog(0, 0)
    assert mail_server.accepted == []


def test_a_consumer_that_gives_up_earlier_than_we_do_loses_no_event(
    database: Database,
    sending: SendContext,
    stream: JetStream,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guestguard_dagster.notifications.intake._FIRST_RETRY", timedelta(milliseconds=1))
    consumer = stream.declaration.consumers[RSVP]

    async def inherit_a_consumer() -> None:
        client = await nats.connect(nats_server.url)
        jetstream = client.jetstream()
        config = ConsumerConfig(
            durable_name=consumer.name, filter_subject=consumer.subject, max_deliver=2, ack_policy=AckPolicy.EXPLICIT
        )
        await jetstream.delete_consumer(stream.declaration.name, consumer.name)
        await jetstream.add_consumer(stream.declaration.name, config)
        await client.close()

    asyncio.run(inherit_a_consumer())
    stream.publish(RSVP, rsvp_confirmed(uuid4(), make_event(database)))

    run_once(sending, stream, rules=replace(RULES, max_deliveries=8), linger=timedelta(seconds=1))

    assert [letter.deliveries for letter in dead_letters_of(database)] == [2]


def test_an_alert_is_a_warning_in_the_log_with_score_and_reasons_and_nobodys_address(
    database: Database, sending: SendContext, stream: JetStream, caplog: pytest.LogCaptureFixture
) -> None:
    event = make_event(database)
    stream.publish(FRAUD, fraud_scored(None, event, score=91, reasons=["new_device", "opened by eve@example.com"]))
    stream.publish(FRAUD, fraud_scored(None, event, score=1, reasons=["harmless"]))

    run_once(sending, stream, FRAUD)

    (line,) = (record for record in caplog.records if record.name == "guestguard_dagster.notifications.intake")
    assert line.levelname == "WARNING"
    assert all(part in line.getMessage() for part in (str(event.id), "score 91", "new_device"))
    assert "eve@example.com" not in line.getMessage()


def test_a_guest_who_becomes_known_in_time_gets_the_mail(
    database: Database,
    sending: SendContext,
    stream: JetStream,
    mail_server: SmtpLoopback,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guestguard_dagster.notifications.intake._FIRST_RETRY", timedelta(milliseconds=200))
    event, guest_id = make_event(database), uuid4()
    stream.publish(RSVP, rsvp_confirmed(guest_id, event))
    run_once(sending, stream)
    (guest,) = make_guests(database, event, id=guest_id)
    run_once(sending, stream, linger=timedelta(seconds=1))
    assert mail_server.recipients() == {guest.email: 1}
    assert dead_letters_of(database) == []


def test_dead_letters_are_replayed_once_what_they_lacked_is_there(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event, guest_id = make_event(database), uuid4()
    stream.publish(RSVP, rsvp_confirmed(guest_id, event))
    stream.publish(RSVP, b"{}")
    run_once(sending, stream, rules=replace(RULES, max_deliveries=1))
    unknown, broken = dead_letters_of(database)

    assert replay(sending, RULES, Selection())[0] == []
    (guest,) = make_guests(database, event, id=guest_id)
    used, kept = replay(sending, RULES, Selection())
    again, _ = replay(sending, RULES, Selection(ids=[unknown.id]))
    run_once(sending, stream)

    assert [letter.id for letter in used] == [unknown.id]
    assert [letter.id for letter in kept] == [broken.id]
    assert again == []
    assert mail_server.recipients() == {guest.email: 1}
    repo = DeadLetterRepo(database)
    assert repo.dismiss(Selection(first_sequence=broken.sequence, last_sequence=broken.sequence)) == 1
    assert repo.open(Selection()) == []


def test_reading_any_range_of_the_stream_again_sends_nothing_twice(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 4)
    stream.publish_many([(RSVP, rsvp_confirmed(guest, event), None) for guest in guests])
    run_once(sending, stream)
    with database.transaction() as connection:
        # as if the database had been restored to a state before the last one
        connection.execute(notifications.delete().where(notifications.c.sequence == 4))

    received = receive(sending, RULES, RSVP, stream.read(1, 1000))
    run_once(sending, stream)

    assert received.fates == {Fate.KNOWN: 3, Fate.RECORDED: 1}
    assert mail_server.recipients() == Counter({guest.email: 1 for guest in guests} | {guests[3].email: 2})


def test_guests_who_left_the_list_and_cancelled_events_are_not_written_to(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event, off = make_event(database), make_event(database)
    removed, silent = make_guests(database, event, 2)
    (of_cancelled,) = make_guests(database, off)
    GuestRepo(database).remove(removed.id)
    EventRepo(database).cancel(off.id)
    set_columns(database, silent, email=None)
    for guest, of in ((removed, event), (silent, event), (of_cancelled, off)):
        stream.publish(RSVP, rsvp_confirmed(guest, of))

    run_once(sending, stream)

    assert mail_server.accepted == []
    assert [row.reason for row in notifications_of(database)] == ["guest_removed", "no_address", "event_cancelled"]


def test_an_unsubscribe_stops_invitations_and_spares_confirmations(
    database: Database, sending: SendContext, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    host = make_user(database)
    event = make_event(database, owner=host)
    guest, bounced = make_guests(database, event, 2)
    suppress = SuppressionRepo(database).add
    suppress(MessageChannel.EMAIL, guest.email or "", scope=for_host(host.id), reason="unsubscribe", source="link")
    suppress(MessageChannel.EMAIL, bounced.email or "", scope=EVERY_HOST, reason="hard_bounce", source="smtp")
    for each in (guest, bounced):
        stream.publish(RSVP, rsvp_confirmed(each, event))
        stream.publish(INVITE, invitation_send(each, event))

    run_once(sending, stream)
    run_once(sending, stream, INVITE)

    assert [parse(mail.content)["Subject"] for mail in mail_server.accepted] == ["Your RSVP is confirmed"]
    assert mail_server.recipients() == {guest.email: 1}
    assert statuses_of(database) == {"sent": 1, "suppressed": 3}


def test_a_providers_failure_is_the_rows_business_and_no_nak(
    database: Database,
    open_sending: SendContextOpener,
    stream: JetStream,
    mail_server: SmtpLoopback,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    stream.publish(RSVP, rsvp_confirmed(guest, event))
    mail_server.faults.add(Fault(at="rcpt", do=FaultKind.REPLY, reply="451 4.7.1 come back later"))
    monkeypatch.setattr(notification_sending, "_LONGEST_STAY", timedelta(0))
    sending = open_sending(smtp_settings(mail_server))

    first = run_once(sending, stream)
    assert stream.survey().backlogs[RSVP] == Backlog(0, 0)
    let_waits_pass(database)
    second = run_once(sending, stream)

    assert (first.outcomes["transient"], second.outcomes["sent"]) == (1, 1)
    assert second.events == {}
    assert mail_server.recipients() == {guest.email: 1}


def test_rows_that_a_dead_event_run_left_are_sent_though_nats_is_away(
    database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    _fate(sending, RSVP, rsvp_confirmed(guest, event), 1, datetime(2030, 1, 1, tzinfo=UTC))
    with connect("nats://127.0.0.1:1", declare()) as nowhere:
        report = run_once(sending, nowhere)
    assert report.stream_problem is not None
    assert mail_server.recipients() == {guest.email: 1}


def test_a_notification_follows_its_delivery_whoever_moves_that_one(
    database: Database, sending: SendContext, stream: JetStream
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    stream.publish(RSVP, rsvp_confirmed(guest, event))
    run_once(sending, stream)
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE message_deliveries SET status = 'bounced', error_class = 'bounce', error_code = '5.1.1'"
        )
    (row,) = notifications_of(database)
    assert (row.status, row.error) == ("bounced", "bounce 5.1.1")


def parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=default)


def _text(mail: EmailMessage, kind: str = "plain") -> str:
    body = mail.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content


def _fate(
    sending: SendContext,
    kind: NotificationType,
    data: bytes,
    sequence: int,
    published_at: datetime,
    *,
    message_id: str | None = None,
) -> Fate:
    arrival = Arrival("S", "subject", sequence, published_at, 1, message_id, data)
    (fate,) = receive(sending, RULES, kind, [arrival]).fates
    return fate
