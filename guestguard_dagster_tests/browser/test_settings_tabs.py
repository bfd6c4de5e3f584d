"""The tabs Collaborators and Branding, and the way in and out."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.events import CollaboratorRole, Event
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster_tests.browser.conftest import Site
from guestguard_dagster_tests.delivery.steps import send
from guestguard_dagster_tests.factories import make_event, make_guests, make_message
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


def _roles(database: Database, event: Event) -> dict[str, CollaboratorRole]:
    return {each.user.email: each.role for each in EventRepo(database).collaborators(event.id)}


def test_a_collaborator_is_added_gets_another_role_and_is_removed(page: Page, site: Site, database: Database) -> None:
    page.goto(site.page("collaborators"))
    page.get_by_label("Email address").fill("eddy@example.com")
    page.get_by_label("Name").fill("Eddy Editor")
    page.get_by_role("button", name="Add").click()
    eddy = page.get_by_role("listitem").filter(has_text="eddy@example.com")
    expect(eddy).to_be_visible()
    assert _roles(database, site.event)["eddy@example.com"] is CollaboratorRole.EDITOR

    eddy.get_by_label("Role of Eddy Editor").select_option("viewer")
    expect(page.get_by_text("Eddy Editor is a viewer now.")).to_be_visible()
    assert _roles(database, site.event)["eddy@example.com"] is CollaboratorRole.VIEWER

    eddy.get_by_role("button", name="Remove Eddy Editor").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(eddy).to_have_count(0)
    assert _roles(database, site.event) == {"hanna@example.com": CollaboratorRole.OWNER}


def test_an_address_that_is_none_is_told_beside_its_field(page: Page, site: Site) -> None:
    page.goto(site.page("collaborators"))
    page.get_by_label("Email address").fill("eddy")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_label("Email address")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Email address")).to_be_focused()


def test_only_the_owner_decides_who_works_on_the_event(
    page: Page, site: Site, shared_event: Callable[[CollaboratorRole], Event]
) -> None:
    page.goto(site.page("collaborators", shared_event(CollaboratorRole.EDITOR)))
    expect(page.get_by_text("hanna@example.com")).to_be_visible()
    expect(page.locator("main").get_by_role("button")).to_have_count(0)


def test_branding_is_previewed_and_used_by_the_mails_that_leave_then(
    page: Page, site: Site, database: Database, sending: SendContext, mail_server: SmtpLoopback
) -> None:
    make_guests(database, site.event, 1)
    page.goto(site.page("branding"))
    page.get_by_label("Sender name").fill("The Garden Club")
    expect(page.get_by_text("The Garden Club via GuestGuard")).to_be_visible()
    page.get_by_label("Colour", exact=True).fill("#0a7d55")
    page.get_by_label("Postal address").fill("Main Street 1, Potsdam")
    page.get_by_role("button", name="Save branding").click()
    expect(page.frame_locator("iframe").get_by_text("Main Street 1, Potsdam")).to_be_visible()

    send(sending, [make_message(database, site.event).id])
    mail = mail_server.accepted[0].content.decode()
    assert "The Garden Club via GuestGuard" in mail
    assert "#0a7d55" in mail
    assert "Main Street 1, Potsdam" in mail


def test_a_colour_that_is_none_is_told_beside_its_field(page: Page, site: Site) -> None:
    page.goto(site.page("branding"))
    page.get_by_label("Colour", exact=True).fill("green")
    page.get_by_role("button", name="Save branding").click()
    expect(page.get_by_label("Colour", exact=True)).to_have_attribute("aria-invalid", "true")


def test_a_host_finds_their_events(page: Page, site: Site) -> None:
    page.goto(site.url)
    page.get_by_role("link", name="Garden Party").click()
    expect(page).to_have_url(site.page("communications"))


def test_somebody_elses_event_is_not_there(page: Page, site: Site, database: Database) -> None:
    answer = page.goto(site.page("communications", make_event(database)))
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", name="This page is not here")).to_be_visible()


def test_who_is_not_signed_in_is_asked_to_and_signing_out_ends_the_session(
    page: Page, guest_page: Page, site: Site
) -> None:
    guest_page.goto(site.page("branding"))
    expect(guest_page).to_have_url(re.compile("/sign-in"))
    page.goto(site.page("branding"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(site.page("branding"))
    expect(page).to_have_url(re.compile("/sign-in"))
