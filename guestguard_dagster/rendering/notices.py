"""What the mails that answer to events have in common. Written by us, not by hosts: values are cleaned, and escaped in
HTML.
"""

from guestguard_dagster.domain.plain_text import GUEST_NAME_LIMIT, SUBJECT_LIMIT, clean_value
from guestguard_dagster.rendering.mail import RenderedMail
from guestguard_dagster.rendering.shell import Shell, render_block


def notice(
    template: str, subject: str, shell: Shell, values: dict[str, object], *, unsubscribe_url: str | None = None
) -> RenderedMail:
    """`template` holds the blocks `text` and `html`: a mail's words beside each other."""
    text = render_block(f"{template}.html", "text", **values).strip("\n")
    return RenderedMail(
        subject=clean_value(subject, SUBJECT_LIMIT),
        text=shell.text(text, unsubscribe_url=unsubscribe_url),
        html=shell.html(render_block(f"{template}.html", "html", **values), text=text, unsubscribe_url=unsubscribe_url),
    )


def greeted(name: str) -> str:
    return clean_value(name, GUEST_NAME_LIMIT) or "there"
