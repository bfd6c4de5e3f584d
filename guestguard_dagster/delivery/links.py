"""The links that mail carries, as the settings make them."""

from dataclasses import dataclass, field
from uuid import UUID

from guestguard_dagster.rendering.links import rsvp_link, unsubscribe_url
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts


@dataclass(frozen=True, slots=True)
class LinkMaker:
    """The links that a mail carries. `secret` signs the unsubscribe link."""

    rsvp_prefix: str
    public_base_url: str
    secret: str = field(repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> "LinkMaker":
        return cls(settings.rsvp_link_prefix, settings.public_base_url, settings.require_secret_key())

    def rsvp(self, facts: RecipientFacts) -> str:
        return rsvp_link(self.rsvp_prefix, facts.rsvp_token)

    def event(self, event_id: UUID) -> str:
        """The host's page of an event."""
        return f"{self.public_base_url.rstrip('/')}/manage/{event_id}/communications"

    def unsubscribe(self, guest_id: UUID, event_id: UUID) -> str:
        return unsubscribe_url(self.public_base_url, self.secret, guest_id, event_id)
