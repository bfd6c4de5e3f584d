"""The parts of the pages, found as people find them: by role and name."""

import re
from uuid import UUID

from playwright.sync_api import Locator, Page, expect


def compose(page: Page) -> Locator:
    """Open the form for a new message."""
    page.get_by_role("button", name="New message").click()
    form = page.locator("#composer form")
    expect(form.get_by_role("heading", name="New message")).to_be_focused()
    return form


def form_of(page: Page, message_id: UUID) -> Locator:
    """The form in which a message is edited in its place."""
    return page.locator(f'[data-message="{message_id}"] form')


def fill_message(form: Locator, *, subject: str, body: str) -> None:
    form.get_by_label("Subject").fill(subject)
    form.get_by_label("Message").fill(body)


def save(form: Locator) -> None:
    form.locator('[type="submit"]').click()


def row(page: Page, title: str) -> Locator:
    """The message with this title, in whichever box is shown."""
    heading = page.get_by_role("heading", name=title, exact=True)
    return page.get_by_role("tabpanel").locator("li.message").filter(has=heading)


def show_box(page: Page, name: str) -> None:
    page.get_by_role("tab", name=re.compile(f"^{name}")).click()
