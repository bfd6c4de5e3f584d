"""Everybody can use the pages: axe finds nothing serious, the keyboard is enough, and a phone is wide enough."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageKind, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.browser.conftest import OpenPage, Site
from guestguard_dagster_tests.browser.parts import compose, fill_message, row, show_box
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message

_SERIOUS = {"serious", "critical"}
_LONG = "Extraordinarily-Long-Anniversary-Celebration-of-the-International-Federation-of-Philharmonic-Orchestras "


def _violations(page: Page) -> list[str]:
    page.evaluate(AXE_SCRIPT)
    found: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in _SERIOUS
        for node in each["nodes"]
    ]


# What reaches beyond the screen, but for what can be scrolled into view, or is meant for screen readers alone.
_BEYOND_THE_SCREEN = """() => [...document.body.querySelectorAll("*")].filter((element) => {
  const box = element.getBoundingClientRect();
  if (box.width <= 1 || (box.right <= innerWidth + 1 && box.left >= -1)) return false;
  for (let outer = element.parentElement; outer && outer !== document.body; outer = outer.parentElement) {
    if (["auto", "scroll"].includes(getComputedStyle(outer).overflowX)) return false;
    if (outer.getBoundingClientRect().width <= 1) return false;
  }
  return !element.closest("dialog:not([open])") && getComputedStyle(element).clipPath === "none";
}).map((element) => element.outerHTML.slice(0, 120))"""


def _beyond_the_screen(page: Page) -> list[str]:
    found: list[str] = page.evaluate(_BEYOND_THE_SCREEN)
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append("the page scrolls sideways")
    return found


def _fill(database: Database, site: Site) -> None:
    """Messages in every state, with names as long as people make them."""
    event = site.event
    guests = make_guests(database, event, 4, name=_LONG)
    make_guests(database, event, 1, email=None)
    for status in MessageStatus:
        make_message(database, event, status=status, subject=f"{_LONG} {status}", send_in=timedelta(days=1))
    make_message(database, event, kind=MessageKind.REMINDER_7_DAY, send_in=timedelta(days=3))
    stopped = make_message(
        database,
        event,
        status=MessageStatus.SENDING,
        held_at=database.now(),
        held_reason="stopped by Hanna Host",
        recipient_count=4,
    )
    make_deliveries(database, stopped, guests)
    sent = make_message(database, event, status=MessageStatus.SENT, subject="News", recipient_count=4)
    for guest, outcome in zip(guests, ("delivered", "failed", "unknown", "suppressed"), strict=True):
        make_deliveries(database, sent, [guest], status=DeliveryStatus(outcome), retryable=outcome == "failed")


def _lists(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    expect(page.get_by_text("7-day reminder")).to_be_visible()


def _composing(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    form = compose(page)
    fill_message(form, subject=f"News {_LONG}", body=f"Hi {{{{guest_name}}}}, {_LONG}")
    form.get_by_role("radio", name="Schedule").check()
    expect(form.frame_locator("iframe").get_by_role("paragraph").first).to_be_visible()


def _mistaken(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    form = compose(page)
    fill_message(form, subject="News", body="Hi {{who}}")
    form.locator("[type=submit]").click()
    expect(form.get_by_text("Unknown placeholder")).to_be_visible()


def _details(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    show_box(page, "Sent")
    row(page, "News").get_by_role("button", name="Details").click()
    expect(page.get_by_role("table")).to_be_visible()
    expect(page.get_by_text("2 recipients shown")).to_be_visible()


def _question(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    page.get_by_role("button", name="Cancel").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()


def _cancelled(page: Page, site: Site) -> None:
    page.goto(site.page("communications"))
    show_box(page, "Cancelled")
    expect(page.get_by_role("tabpanel").locator("li.message")).to_be_visible()


def _guests(page: Page, site: Site) -> None:
    page.goto(site.page("guests"))
    expect(page.get_by_text("5 guests")).to_be_visible()


def _collaborators(page: Page, site: Site) -> None:
    page.goto(site.page("collaborators"))
    expect(page.get_by_text("hanna@example.com")).to_be_visible()


def _branding(page: Page, site: Site) -> None:
    page.goto(site.page("branding"))
    expect(page.frame_locator("iframe").get_by_text("See you soon!")).to_be_visible()


def _events(page: Page, site: Site) -> None:
    page.goto(site.url)


def _not_found(page: Page, site: Site) -> None:
    page.goto(site.url + "/manage/00000000-0000-0000-0000-000000000000/branding")


def _sign_in(page: Page, site: Site) -> None:
    page.goto(site.url + "/sign-in")


SCENES = (
    _lists,
    _composing,
    _mistaken,
    _details,
    _question,
    _cancelled,
    _guests,
    _collaborators,
    _branding,
    _events,
    _not_found,
    _sign_in,
)
Scene = Callable[[Page, Site], None]


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(
    open_page: OpenPage, site: Site, database: Database, color_scheme: Literal["light", "dark"]
) -> None:
    _fill(database, site)
    page = open_page(color_scheme=color_scheme)
    found = {}
    for scene in SCENES:
        scene(page, site)
        found[scene.__name__] = _violations(page)
    assert found == {scene.__name__: [] for scene in SCENES}


def test_every_page_fits_a_phone(open_page: OpenPage, site: Site, database: Database) -> None:
    _fill(database, site)
    page = open_page(width=360)
    found = {}
    for scene in SCENES:
        scene(page, site)
        found[scene.__name__] = _beyond_the_screen(page)
    assert found == {scene.__name__: [] for scene in SCENES}


def test_guests_pages_have_nothing_serious_and_fit_a_phone(open_page: OpenPage, site: Site, database: Database) -> None:
    [guest] = make_guests(database, make_event(database, name=_LONG), 1, name=_LONG)
    page = open_page(signed_in=False, width=360)
    page.goto(f"{site.url}/rsvp/{guest.rsvp_token}")
    expect(page.get_by_role("button")).to_be_visible()
    assert _violations(page) == []
    assert _beyond_the_screen(page) == []


def test_the_keyboard_alone_is_enough_to_move_between_boxes_and_to_compose(
    page: Page, site: Site, database: Database
) -> None:
    make_message(database, site.event, subject="News", send_in=timedelta(days=1))
    page.goto(site.page("communications"))
    page.get_by_role("tab", name="Scheduled").focus()
    for name in ("Sent", "Cancelled", "Notifications", "Scheduled"):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    page.get_by_role("button", name="New message").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New message")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="New message")).to_be_focused()


def test_focus_stays_in_the_list_when_its_message_leaves_it(page: Page, site: Site, database: Database) -> None:
    for number in (1, 2):
        make_message(database, site.event, subject=f"News {number}", send_in=timedelta(days=number))
    page.goto(site.page("communications"))
    row(page, "News 1").get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel message").click()
    expect(row(page, "News 1")).to_have_count(0)
    expect(row(page, "News 2").get_by_role("heading")).to_be_focused()
