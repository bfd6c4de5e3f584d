"""The mail that the bench sends, as the yardstick and smtp-source need to know it."""

from dataclasses import dataclass, replace
from uuid import UUID

from benchmarks.sending import BODY, SUBJECT
from benchmarks.stage import FROM_EMAIL, SECRET_KEY
from guestguard_dagster.domain.messages import MessageAudience
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.links import rsvp_link, unsubscribe_url
from guestguard_dagster.rendering.mail import MailTemplate, rsvp_button_label
from guestguard_dagster.senders.base import Mail
from guestguard_dagster.senders.raw_mail import MailComposer

_BASE_URL = "http://localhost:8000"
_NOBODY = UUID(int=0)
_FACTS = EventFacts(
    name="Garden Party",
    date="Sat, 05 Dec 2026 · 18:30",
    time_range="Sat, 05 Dec 2026 · 18:30",
    zone="Europe/Berlin (UTC+01:00)",
    venue="Rose Garden, Main Street 1",
    host_name="Hanna Host",
)


@dataclass(frozen=True, slots=True)
class SampleMail:
    """Rendered as the engine renders it, with %(number)s where guests differ."""

    mail: Mail

    @classmethod
    def render(cls) -> "SampleMail":
        template = MailTemplate.compile(SUBJECT, BODY, _FACTS, button_label=rsvp_button_label(MessageAudience.EVERYONE))
        unsubscribe = unsubscribe_url(_BASE_URL, SECRET_KEY, _NOBODY, _NOBODY)
        rendered = template.render(
            guest_name="Guest %(number)s",
            rsvp_link=rsvp_link(f"{_BASE_URL}/rsvp/", "0" * 26) + "%(number)s",
            unsubscribe_url=unsubscribe,
        )
        return cls(
            Mail(
                delivery_id=1,
                round=1,
                to_email="guest-%(number)s@example.com",
                to_name="Guest %(number)s",
                from_name=f"{_FACTS.host_name} via GuestGuard",
                reply_to="hanna@example.com",
                subject=rendered.subject,
                text=rendered.text,
                html=rendered.html,
                installation=str(_NOBODY),
                unsubscribe_url=unsubscribe,
            )
        )

    @property
    def octets(self) -> int:
        """Its size on the wire, headers included."""
        return len(MailComposer(FROM_EMAIL).compose(replace(self.mail, to_email="guest-1@example.com")))

    def as_yardstick_order(self) -> dict[str, object]:
        mail = self.mail
        return {
            "sender": f"{mail.from_name} <{FROM_EMAIL}>",
            "recipient": f"{mail.to_name} <{mail.to_email}>",
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
            "headers": {
                "Message-ID": f"<delivery-%(number)s-1.00000000@{FROM_EMAIL.rpartition('@')[2]}>",
                "Reply-To": mail.reply_to,
                "List-Unsubscribe": f"<{mail.unsubscribe_url}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
        }
