"""A host writes, edits, sends and cancels messages in the browser."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from playwright.sync_api import Page, expect

from guestguard_dagster.domain.events import CollaboratorRole, Event, RsvpStatus
from guestguard_dagster.domain.messages import MessageChanges, MessageChannel, MessageKind, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster_tests.browser.conftest import Site
from guestguard_dagster_tests.browser.parts import compose, fill_message, form_of, row, save, show_box
from guestguard_dagster_tests.factories import make_guests, make_message, read_message
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback

_BERLIN = ZoneInfo("Europe/Berlin")


def test_the_guests_who_will_receive_it_are_counted_and_the_others_named(
    page: Page, site: Site, database: Database
) -> None:
    make_guests(database, site.event, 4)
    make_guests(database, site.event, 2, rsvp_status=RsvpStatus.PENDING)
    make_guests(database, site.event, 1, name="Nora Nomail", email=None, phone="+491711234567")
    [unwilling] = make_guests(database, site.event, 1, name="Una Willing", rsvp_status=RsvpStatus.PENDING)
    SuppressionRepo(database).add(MessageChannel.EMAIL, unwilling.email or "", reason="unsubscribe", source="test")
    page.goto(site.page("communications"))
    form = compose(page)
    expect(form.get_by_text("6 guests will receive this")).to_be_visible()
    form.get_by_text("1 guest without an email address").click()
    expect(form.get_by_text("Nora Nomail")).to_be_visible()
    form.get_by_label("Audience").select_option("pending")
    expect(form.get_by_text("2 guests will receive this")).to_be_visible()
    form.get_by_text("1 guest unsubscribed or blocked").click()
    expect(form.get_by_text("Una Willing")).to_be_visible()
    form.get_by_label("Audience").select_option("everyone")
    form.get_by_label("Channel").select_option("sms")
    expect(form.get_by_text("1 guest will receive this")).to_be_visible()
    expect(form.get_by_text("No SMS provider is configured")).to_be_visible()


def test_a_message_is_scheduled_on_the_events_clock_wherever_the_browser_is(
    page: Page, site: Site, database: Database
) -> None:
    leaves = (datetime.now(_BERLIN) + timedelta(days=2)).replace(hour=18, minute=30, second=0, microsecond=0)
    page.goto(site.page("communications"))
    form = compose(page)
    fill_message(form, subject="Doors open early", body="Come at six.")
    form.get_by_role("radio", name="Schedule").check()
    form.get_by_label("Send at").fill(leaves.strftime("%Y-%m-%dT%H:%M"))
    save(form)
    found = row(page, "Doors open early")
    expect(found.get_by_text(leaves.strftime("%d %b %Y · 18:30"))).to_be_visible()
    [message] = MessageRepo(database).list_by_event(site.event.id)
    assert (message.status, message.send_at) == (MessageStatus.SCHEDULED, leaves.astimezone(UTC))


def test_placeholders_are_inserted_and_the_preview_shows_them_filled_in(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    form = compose(page)
    fill_message(form, subject="About ", body="Hello ")
    form.get_by_role("button", name="guest name").click()
    form.get_by_label("Subject").click()
    form.get_by_role("button", name="event name").click()
    expect(form.get_by_label("Message")).to_have_value("Hello {{guest_name}}")
    expect(form.get_by_label("Subject")).to_have_value("About {{event_name}}")
    mail = form.frame_locator("iframe")
    expect(mail.get_by_role("paragraph").get_by_text("Hello Alex Sample")).to_be_visible()
    expect(form.locator("[data-part=preview-subject]")).to_have_text("About Garden Party")
    assert form.locator("iframe").get_attribute("sandbox") == ""


def test_an_sms_shows_its_segments(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    form = compose(page)
    form.get_by_label("Channel").select_option("sms")
    form.get_by_label("Message").fill("x" * 161)
    expect(form.get_by_text("2 segments · 161 characters · GSM-7")).to_be_visible()
    expect(form.get_by_label("Subject")).to_be_hidden()


def test_a_mistake_is_told_beside_its_field(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    form = compose(page)
    fill_message(form, subject="News", body="Hi,\nsee {{gest_name}}")
    save(form)
    expect(form.get_by_text("Line 2: Unknown placeholder {{gest_name}}; did you mean {{guest_name}}?")).to_be_visible()
    expect(form.get_by_label("Message")).to_be_focused()
    expect(form.get_by_label("Message")).to_have_attribute("aria-invalid", "true")


def test_a_test_goes_to_the_host_alone(page: Page, site: Site, database: Database, mail_server: SmtpLoopback) -> None:
    make_guests(database, site.event, 3)
    page.goto(site.page("communications"))
    form = compose(page)
    fill_message(form, subject="News", body="Hi {{guest_name}}")
    form.get_by_role("button", name="Send a test to hanna@example.com").click()
    expect(form.get_by_text("On its way. Look into your inbox.")).to_be_visible()
    assert mail_server.recipients() == {"hanna@example.com": 1}


def test_a_draft_is_edited_in_its_place(page: Page, site: Site, database: Database) -> None:
    message = make_message(database, site.event, status=MessageStatus.DRAFT, subject="First words")
    page.goto(site.page("communications"))
    row(page, "First words").get_by_role("button", name="Edit").click()
    form = form_of(page, message.id)
    form.get_by_label("Subject").fill("Better words")
    save(form)
    expect(row(page, "Better words").get_by_role("heading")).to_be_focused()
    assert read_message(database, message.id).subject == "Better words"


def test_a_stale_edit_shows_what_the_other_editor_saved_and_loses_nothing(
    page: Page, site: Site, database: Database
) -> None:
    message = make_message(database, site.event, status=MessageStatus.DRAFT, subject="News")
    page.goto(site.page("communications"))
    row(page, "News").get_by_role("button", name="Edit").click()
    form = form_of(page, message.id)
    form.get_by_label("Message").fill("What I wrote")
    MessageRepo(database).update(message.id, MessageChanges(body="What Eddy wrote"), expected_version=message.version)
    save(form)
    told = form.get_by_role("alert").filter(has_text="Somebody saved this message")
    expect(told.get_by_text("What Eddy wrote")).to_be_visible()
    expect(form.get_by_label("Message")).to_have_value("What I wrote")
    assert read_message(database, message.id).body == "What Eddy wrote"
    told.get_by_role("button", name="Keep mine and replace it").click()
    expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
    assert read_message(database, message.id).body == "What I wrote"


def test_an_edit_of_what_has_been_cancelled_is_told_so(page: Page, site: Site, database: Database) -> None:
    message = make_message(database, site.event, status=MessageStatus.DRAFT, subject="News")
    page.goto(site.page("communications"))
    row(page, "News").get_by_role("button", name="Edit").click()
    form = form_of(page, message.id)
    form.get_by_label("Message").fill("What I wrote")
    MessageRepo(database).cancel(message.id)
    save(form)
    expect(form.get_by_text("This message is cancelled by now and cannot be changed any more.")).to_be_visible()


def test_send_now_asks_first_and_says_when_it_starts(page: Page, site: Site, database: Database) -> None:
    make_guests(database, site.event, 2)
    message = make_message(database, site.event, subject="News", send_in=timedelta(days=1))
    page.goto(site.page("communications"))
    row(page, "News").get_by_role("button", name="Send now").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("“News” goes to 2 guests. It starts within about 40 seconds")
    question.get_by_role("button", name="Send now").click()
    expect(row(page, "News").get_by_text("Starting", exact=True)).to_be_visible()
    sent = read_message(database, message.id)
    assert sent.send_at is not None
    assert sent.send_at <= database.now()


def test_send_now_on_a_message_that_was_held_meanwhile_says_so_and_offers_to_resume_it(
    page: Page, site: Site, database: Database
) -> None:
    message = make_message(database, site.event, subject="News", send_in=timedelta(days=1))
    page.goto(site.page("communications"))
    news = row(page, "News")
    expect(news.get_by_role("button", name="Send now")).to_be_visible()
    MessageRepo(database).hold([message.id], reason="stopped by Eddy Editor")
    news.get_by_role("button", name="Send now").click()
    page.get_by_role("dialog").get_by_role("button", name="Send now").click()
    expect(page.get_by_text("is on hold by a host (stopped by Eddy Editor); resume it first")).to_be_visible()
    expect(news.get_by_role("button", name="Resume")).to_be_visible()
    assert read_message(database, message.id).send_at == message.send_at


def test_a_message_is_cancelled_only_after_it_is_confirmed(page: Page, site: Site, database: Database) -> None:
    message = make_message(database, site.event, subject="News", send_in=timedelta(days=1))
    page.goto(site.page("communications"))
    cancel = row(page, "News").get_by_role("button", name="Cancel")
    cancel.click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    expect(cancel).to_be_focused()
    assert read_message(database, message.id).status is MessageStatus.SCHEDULED
    cancel.click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel message").click()
    expect(page.get_by_text("Nothing is scheduled")).to_be_visible()
    show_box(page, "Cancelled")
    expect(row(page, "News").get_by_text("Cancelled by a host")).to_be_visible()
    assert read_message(database, message.id).status is MessageStatus.CANCELLED


def test_each_message_is_in_the_box_of_its_state_under_a_name_for_people(
    page: Page, site: Site, database: Database
) -> None:
    boxes = {
        "Scheduled": [MessageStatus.DRAFT, MessageStatus.SCHEDULED, MessageStatus.SENDING],
        "Sent": [MessageStatus.SENT, MessageStatus.FAILED],
        "Cancelled": [MessageStatus.CANCELLED],
    }
    for statuses in boxes.values():
        for status in statuses:
            make_message(database, site.event, status=status, subject=f"A {status} one", send_in=timedelta(days=1))
    make_message(database, site.event, kind=MessageKind.REMINDER_3_DAY_LAST_CALL, send_in=timedelta(days=7))
    page.goto(site.page("communications"))
    for box, statuses in boxes.items():
        show_box(page, box)
        for status in statuses:
            expect(row(page, f"A {status} one")).to_be_visible()
    show_box(page, "Scheduled")
    expect(page.get_by_text("3-day last call")).to_be_visible()
    assert "reminder_3_day" not in page.locator("main").inner_text()


def test_a_form_with_changes_is_not_thrown_away_without_asking(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    form = compose(page)
    fill_message(form, subject="News", body="Long thought about")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").get_by_role("button", name="Keep writing").click()
    expect(form.get_by_label("Message")).to_have_value("Long thought about")
    form.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    expect(form).to_be_hidden()
    expect(page.get_by_role("button", name="New message")).to_be_focused()


def test_a_viewer_reads_along_and_changes_nothing(
    page: Page, site: Site, database: Database, shared_event: Callable[[CollaboratorRole], Event]
) -> None:
    event = shared_event(CollaboratorRole.VIEWER)
    make_message(database, event, subject="News", send_in=timedelta(days=1))
    page.goto(site.page("communications", event))
    expect(row(page, "News")).to_be_visible()
    expect(page.locator("main").get_by_role("button")).to_have_count(0)
