"""From a rendered mail to a letter: who it is from, to whom, and what goes with it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from guestguard_dagster.delivery.composing import from_name
from guestguard_dagster.delivery.links import LinkMaker
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.rendering.mail import RenderedMail
from guestguard_dagster.senders.base import Attachment
from guestguard_dagster.storage.notifications.repo import NotificationContext

# of templates and attachments, which are one of each for every event
_MOST_KEPT = 512

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail that needs no more than its address. Without `reply_to`, replies go to the sender."""

    rendered: RenderedMail
    to_name: str
    from_name: str
    reply_to: str | None
    unsubscribe_url: str | None = None
    attachments: tuple[Attachment, ...] = ()


class MailKit:
    """What letters are made with, in one run; keeps what was made of the latest events."""

    def __init__(self, sending: SendContext) -> None:
        self.links: LinkMaker = sending.links
        self._senders = sending.senders
        self._kept = lru_cache(_MOST_KEPT)(_made)

    def kept(self, make: Callable[[Event, User], T], context: NotificationContext) -> T:
        """What `make` makes of the event and its host, made once for all their guests."""
        made: T = self._kept(make, context.event, context.host)
        return made

    def to_guest(
        self,
        context: NotificationContext,
        to_name: str,
        rendered: RenderedMail,
        *,
        unsubscribe_url: str | None = None,
        attachments: tuple[Attachment, ...] = (),
    ) -> Letter:
        """In the host's name, who gets the replies."""
        sender = from_name(context.event, context.host, self._senders.from_name)
        return Letter(rendered, to_name, sender, context.host.email, unsubscribe_url, attachments)

    def to_host(self, context: NotificationContext, rendered: RenderedMail) -> Letter:
        """In our own name."""
        return Letter(rendered, context.host.name, self._senders.from_name, None)


def _made(make: Callable[[Event, User], T], event: Event, host: User) -> T:
    return make(event, host)
