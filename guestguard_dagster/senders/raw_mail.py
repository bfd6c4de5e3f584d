"""Turns a Mail into the bytes of a MIME message, for the providers that take raw mail (SMTP, SES)."""

from functools import lru_cache

from guestguard_dagster.clock import utc_now
from guestguard_dagster.rendering.addresses import AddressInvalid, ascii_address
from guestguard_dagster.rendering.mime import MimeSkeleton
from guestguard_dagster.senders.base import Attachment, Mail

_SKELETONS_KEPT = 64


class MailComposer:
    """Composes mail from one sending address. A message's recipients share a skeleton; a few skeletons are kept."""

    def __init__(self, from_email: str) -> None:
        """Raises AddressInvalid when nothing could be sent from `from_email`."""
        self.from_email = ascii_address(from_email)
        self._message_id_domain = self.from_email.rpartition("@")[2]
        self._skeleton = lru_cache(_SKELETONS_KEPT)(self._build_skeleton)

    def compose(self, mail: Mail, *, smtputf8: bool = False) -> bytes:
        """The whole message with CRLF line ends, for a server with SMTPUTF8 if need be.

        Raises AddressInvalid for the recipient's address.
        """
        skeleton = self._skeleton(mail.from_name, mail.reply_to, mail.attachments)
        return skeleton.fill(
            to_name=mail.to_name,
            to_email=mail.to_email,
            subject=mail.subject,
            text=mail.text,
            html=mail.html,
            message_id=self.message_id(mail),
            date=utc_now(),
            unsubscribe_url=mail.unsubscribe_url,
            smtputf8=smtputf8,
        )

    def message_id(self, mail: Mail) -> str:
        """Without angle brackets; the same for every hand-off of this delivery and round."""
        return f"{mail.message_id_local_part}@{self._message_id_domain}"

    def _build_skeleton(
        self, from_name: str, reply_to: str | None, attachments: tuple[Attachment, ...]
    ) -> MimeSkeleton:
        return MimeSkeleton.build(
            from_name=from_name,
            from_email=self.from_email,
            reply_to=usable_reply_to(reply_to),
            attachments=[(item.filename, item.content_type, item.content) for item in attachments],
        )


def usable_reply_to(reply_to: str | None) -> str | None:
    """A host's address that is not one must not keep the guests from their mail: it is left out."""
    if reply_to is None:
        return None
    try:
        return ascii_address(reply_to)
    except AddressInvalid:
        return None
