"""The Guests tab: the list, a file that is imported, a guest who is taken off."""

from playwright.sync_api import FilePayload, Page, expect

from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster_tests.browser.conftest import Site
from guestguard_dagster_tests.factories import make_guests


def _upload(page: Page, text: str) -> None:
    file = FilePayload(name="guests.csv", mimeType="text/csv", buffer=text.encode())
    page.get_by_label("Import a CSV file").set_input_files(file)


def test_guests_are_listed_by_their_answer(page: Page, site: Site, database: Database) -> None:
    make_guests(database, site.event, 1, name="Anna Attending", plus_ones=2)
    make_guests(database, site.event, 1, name="Dora Declined", rsvp_status=RsvpStatus.DECLINED)
    page.goto(site.page("guests"))
    expect(page.get_by_role("row").filter(has_text="Anna Attending")).to_contain_text("Attending + 2")
    page.get_by_label("Show").select_option("declined")
    expect(page.get_by_text("Anna Attending")).to_have_count(0)
    expect(page.get_by_text("Dora Declined")).to_be_visible()


def test_a_file_is_imported_or_every_bad_line_told_and_nobody_added(page: Page, site: Site, database: Database) -> None:
    page.goto(site.page("guests"))
    _upload(page, "name,email\nGina Guest,gina@example.com\nNobody,no address\n,lost@example.com\n")
    told = page.get_by_role("alert").filter(has_text="Nobody was added")
    expect(told.get_by_role("listitem")).to_contain_text(["Line 3, email", "Line 4, name"])
    expect(told).to_be_focused()
    assert GuestRepo(database).list_by_event(site.event.id) == []
    _upload(page, "name,email\nGina Guest,gina@example.com\n")
    expect(page.get_by_text("1 guest added.")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="gina@example.com")).to_be_visible()
    expect(told).to_be_hidden()


def test_a_guest_is_taken_off_the_list_only_after_it_is_confirmed(page: Page, site: Site, database: Database) -> None:
    make_guests(database, site.event, 1, name="Gina Guest")
    page.goto(site.page("guests"))
    page.get_by_role("button", name="Remove Gina Guest").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Gina Guest was removed.")).to_be_visible()
    assert GuestRepo(database).list_by_event(site.event.id) == []
