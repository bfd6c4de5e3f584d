"""A host follows a message while it leaves and afterwards; a guest answers and unsubscribes by the mail's own links."""

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

from playwright.sync_api import Page, expect

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.domain.notifications import Arrival
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION, RsvpConfirmed
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.notifications.repo import Incoming, NotificationRepo
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster_tests.browser.conftest import Site
from guestguard_dagster_tests.browser.parts import compose, fill_message, row, save, show_box
from guestguard_dagster_tests.delivery.steps import send
from guestguard_dagster_tests.factories import make_deliveries, make_guests, make_message, read_message
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


def _mail_to(mail_server: SmtpLoopback, address: str | None) -> EmailMessage:
    [mail] = [each for each in mail_server.accepted if each.recipients == (address,)]
    return message_from_bytes(mail.content, _class=EmailMessage, policy=policy.default)


def _link(mail: EmailMessage, path: str) -> str:
    text = mail.get_body(("plain",))
    assert text is not None
    [link] = set(re.findall(rf"http\S+{path}\S+", text.get_content()))
    return str(link)


def test_a_message_that_is_sent_now_moves_to_sent_by_itself(
    page: Page, site: Site, database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    guests = make_guests(database, site.event, 3)
    page.goto(site.page("communications"))
    form = compose(page)
    fill_message(form, subject="News", body="Hi {{guest_name}}")
    form.get_by_role("radio", name="Send now").check()
    save(form)
    expect(row(page, "News").get_by_text("Starts within about 40 seconds")).to_be_visible()
    [message_id] = [item.id for item in sending.messages.list_by_event(site.event.id)]

    send(sending, [message_id])

    expect(page.get_by_text("Nothing is scheduled")).to_be_visible()
    show_box(page, "Sent")
    expect(row(page, "News").get_by_text("3 Handed to the provider")).to_be_visible()
    assert mail_server.recipients() == {guest.email: 1 for guest in guests}


def test_a_sending_message_shows_its_progress_stops_and_goes_on_and_nobody_gets_it_twice(
    page: Page, site: Site, database: Database, open_sending: Callable[..., SendContext], mail_server: SmtpLoopback
) -> None:
    guests = make_guests(database, site.event, 60)
    message = make_message(database, site.event, subject="News")
    page.goto(site.page("communications"))
    slow = open_sending(smtp_mails_per_second=2, smtp_connections=1)
    run = threading.Thread(target=send, args=(slow, [message.id]))
    run.start()

    news = row(page, "News")
    expect(news.get_by_text(re.compile(r"^[1-9]\d* of 60 guests · .* a second · about .* left"))).to_be_visible()
    news.get_by_role("button", name="Stop").click()
    expect(news.get_by_text("Stopped by Hanna Host")).to_be_visible()
    run.join()
    stopped = read_message(database, message.id)
    assert (stopped.status, stopped.held_reason) == (MessageStatus.SENDING, "stopped by Hanna Host")
    assert 0 < len(mail_server.accepted) < 60

    news.get_by_role("button", name="Resume").click()
    expect(news.get_by_text("Sending", exact=True)).to_be_visible()
    send(open_sending(), [message.id])
    expect(page.get_by_text("Nothing is scheduled")).to_be_visible()
    assert mail_server.recipients() == {guest.email: 1 for guest in guests}


def test_who_failed_and_why_is_shown_and_the_retryable_are_tried_again(
    page: Page, site: Site, database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    arrived, full, gone = make_guests(database, site.event, 3)
    message = make_message(
        database,
        site.event,
        status=MessageStatus.SENT,
        subject="News",
        recipient_count=3,
        audience_frozen_at=database.now(),
    )
    outcomes = [
        (arrived, DeliveryStatus.DELIVERED, False, None),
        (full, DeliveryStatus.FAILED, True, "452 mailbox full"),
        (gone, DeliveryStatus.FAILED, False, "550 no such user"),
    ]
    for guest, status, retryable, why in outcomes:
        make_deliveries(
            database,
            message,
            [guest],
            status=status,
            retryable=retryable,
            error_detail=why,
            settled_at=database.now(),
        )
    page.goto(site.page("communications"))
    show_box(page, "Sent")
    news = row(page, "News")
    news.get_by_role("button", name="Details").click()
    recipients = news.get_by_role("table")
    expect(recipients.get_by_role("row").filter(has_text=full.name)).to_contain_text("452 mailbox full")
    expect(recipients.get_by_role("row").filter(has_text=gone.name)).to_contain_text("Refused for good")
    expect(recipients.get_by_role("row").filter(has_text=arrived.name)).to_have_count(0)
    news.get_by_label("Show recipients by outcome").select_option(label="All outcomes (3)")
    expect(recipients.get_by_role("row").filter(has_text=arrived.name)).to_contain_text("Delivered")

    news.get_by_role("button", name="Retry 1 failed").click()
    expect(page.get_by_text("1 guest will be tried again.")).to_be_visible()
    send(sending, [message.id])
    expect(news.get_by_text("1 Handed to the provider")).to_be_visible()
    expect(news.get_by_role("button", name="Retry")).to_have_count(0)
    assert mail_server.recipients() == {full.email: 1}


def test_what_had_no_provider_is_tried_again_when_there_is_one(
    page: Page, site: Site, database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    message = make_message(
        database,
        site.event,
        status=MessageStatus.FAILED,
        subject="News",
        audience_frozen_at=database.now(),
        recipient_count=2,
    )
    guests = make_guests(database, site.event, 2)
    make_deliveries(database, message, guests, status=DeliveryStatus.SKIPPED, reason="log_backend")
    page.goto(site.page("communications"))
    show_box(page, "Sent")
    row(page, "News").get_by_role("button", name="Retry 2 not sent").click()
    expect(page.get_by_text("2 guests will be tried again.")).to_be_visible()
    send(sending, [message.id])
    assert mail_server.recipients() == {guest.email: 1 for guest in guests}


def test_everything_that_a_guest_was_ever_sent_is_one_press_away(page: Page, site: Site, database: Database) -> None:
    [guest] = make_guests(database, site.event, 1, name="Gina Guest")
    for subject, outcome in (("Save the date", DeliveryStatus.DELIVERED), ("News", DeliveryStatus.BOUNCED)):
        message = make_message(database, site.event, status=MessageStatus.SENT, subject=subject, recipient_count=1)
        make_deliveries(database, message, [guest], status=outcome)
    page.goto(site.page("communications"))
    show_box(page, "Sent")
    row(page, "News").get_by_role("button", name="Details").click()
    page.get_by_role("button", name="Gina Guest").click()
    history = page.get_by_role("dialog", name="Everything sent to Gina Guest")
    expect(history.get_by_role("listitem")).to_contain_text(["News", "Save the date"])
    expect(history.get_by_role("listitem").first).to_contain_text("Bounced")
    history.get_by_role("button", name="Close").click()
    expect(page.get_by_role("button", name="Gina Guest")).to_be_focused()


def test_an_operator_finds_the_runs_of_a_message(page: Page, site: Site, database: Database) -> None:
    message = make_message(database, site.event, status=MessageStatus.SENT, subject="News")
    RunRepo(database).record("0a1b2c3d-run", [message.id])
    page.goto(site.page("communications"))
    show_box(page, "Sent")
    row(page, "News").get_by_role("button", name="Details").click()
    expect(page.get_by_role("link", name="Run 0a1b2c3d")).to_have_attribute(
        "href", "http://dagster.example/runs/0a1b2c3d-run"
    )


def test_mails_that_went_out_by_themselves_are_listed(page: Page, site: Site, database: Database) -> None:
    [guest] = make_guests(database, site.event, 1, name="Gina Guest")
    answer = RsvpConfirmed(rsvp_id="1", guest_id=guest.id, event_id=site.event.id, response=RsvpStatus.ATTENDING)
    arrival = Arrival("RSVPS", "rsvp.confirmed", 1, database.now(), deliveries=1, message_id=None, data=b"")
    incoming = Incoming(arrival, answer, answer.identity(None), None)
    NotificationRepo(database).record(CONFIRMATION.type, [incoming])
    page.goto(site.page("communications"))
    show_box(page, "Notifications")
    expect(page.get_by_role("row").filter(has_text="Gina Guest")).to_contain_text("Waiting")


def test_a_guest_answers_by_the_link_in_the_mail(
    guest_page: Page, site: Site, database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    [guest] = make_guests(database, site.event, 1, rsvp_status=RsvpStatus.PENDING)
    message = make_message(database, site.event)
    send(sending, [message.id])
    guest_page.goto(_link(_mail_to(mail_server, guest.email), "/rsvp/"))
    assert GuestRepo(database).get(guest.id).rsvp_status is RsvpStatus.PENDING
    guest_page.get_by_role("radio").first.check()
    guest_page.get_by_role("button", name="Send my answer").click()
    expect(guest_page.get_by_role("status")).to_contain_text("See you there")
    assert GuestRepo(database).get(guest.id).rsvp_status is RsvpStatus.ATTENDING


def test_a_guest_unsubscribes_by_the_link_in_the_mail_and_the_host_sees_it_before_the_next_one(
    page: Page, guest_page: Page, site: Site, database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    [guest] = make_guests(database, site.event, 1, name="Una Willing")
    make_guests(database, site.event, 2)
    message = make_message(database, site.event)
    send(sending, [message.id])
    guest_page.goto(_link(_mail_to(mail_server, guest.email), "/u/"))
    guest_page.get_by_role("button", name="Unsubscribe").click()
    expect(guest_page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()

    page.goto(site.page("communications"))
    form = compose(page)
    expect(form.get_by_text("2 guests will receive this")).to_be_visible()
    form.get_by_text("1 guest unsubscribed or blocked").click()
    expect(form.get_by_text("Una Willing")).to_be_visible()

    guest_page.get_by_role("button", name="Receive mail again").click()
    form.get_by_label("Audience").select_option("attending")
    expect(form.get_by_text("3 guests will receive this")).to_be_visible()


def test_what_cannot_be_loaded_is_told_and_comes_back(page: Page, site: Site, database: Database) -> None:
    make_message(database, site.event, subject="News", send_in=timedelta(days=1))
    page.route("**/messages?*", lambda route: route.abort())
    page.goto(site.page("communications"))
    expect(page.get_by_role("alert").filter(has_text="GuestGuard cannot be reached")).to_be_visible()
    page.unroute("**/messages?*")
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(row(page, "News")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_ten_thousand_recipients_are_read_page_by_page(page: Page, site: Site, database: Database) -> None:
    guests = make_guests(database, site.event, 10_000)
    message = make_message(database, site.event, status=MessageStatus.SENT, subject="News", recipient_count=10_000)
    make_deliveries(database, message, guests, status=DeliveryStatus.DELIVERED, settled_at=database.now())
    page.goto(site.page("communications"))
    show_box(page, "Sent")
    news = row(page, "News")
    expect(news.get_by_text("10,000 Delivered")).to_be_visible()
    news.get_by_role("button", name="Details").click()
    expect(news.get_by_text("50 recipients shown")).to_be_visible()
    news.get_by_role("button", name="Show more").click()
    expect(news.get_by_text("100 recipients shown")).to_be_visible()
