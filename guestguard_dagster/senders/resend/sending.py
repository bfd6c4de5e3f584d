"""Mail through Resend: batches of up to a hundred, each a fixed request under its own idempotency key."""

import base64
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson
from resend.exceptions import NoContentError, ResendError

from guestguard_dagster.domain.callbacks import tags_of
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.domain.plain_text import clean_value
from guestguard_dagster.rendering.addresses import AddressInvalid, ascii_address
from guestguard_dagster.senders.base import HandOff, LeaseLost, Mail, Permit, RateLimit
from guestguard_dagster.senders.grouping import groups_of
from guestguard_dagster.senders.raw_mail import usable_reply_to
from guestguard_dagster.senders.resend import errors
from guestguard_dagster.senders.resend.sdk import BATCH_ENDPOINT, SINGLE_ENDPOINT, ResendAccount

LARGEST_BATCH = 100

# A hand-off of a mail that no provider could be given: it is answered here, and nothing is called.
_NO_ENDPOINT = "invalid_address"

_LONGEST_NAME = 100
# A message's recipients see the same sender.
_NAMES_KEPT = 64
_NEVER_IN_A_NAME = re.compile(r'[<>"\\]')
_NEEDS_QUOTES = re.compile(r"[^\w\s!#$%&'*+/=?^`{|}~’-]")


class ResendSender:
    """One Resend API key. Repeatable: the same HandOff is the same request, and Resend sends it once."""

    provider = "resend"
    batch_size = LARGEST_BATCH
    repeatable = True
    overlaps = True

    def __init__(self, account: ResendAccount, from_email: str, *, requests_per_second: float) -> None:
        """Raises AddressInvalid when nothing could be sent from `from_email`."""
        digest = hashlib.sha256(account.api_key.encode()).hexdigest()
        self.account = f"resend:{digest[:12]}"
        self.rate_limit = RateLimit(requests_per_second, "request")
        self._resend = account
        self._from_email = ascii_address(from_email)
        self._from_domain = self._from_email.rpartition("@")[2]
        self._hide = (account.api_key,)

    def prepare(self, items: Sequence[Mail]) -> list[HandOff]:
        """Batches; mail with attachments apart, for the batch endpoint drops them; impossible addresses apart too."""
        batched, apart = [], []
        for mail in items:
            try:
                entry = self._entry(mail)
            except AddressInvalid as problem:
                apart.append(HandOff((mail.delivery_id,), _NO_ENDPOINT, body=None, payload=str(problem)))
                continue
            if mail.attachments:
                apart.append(HandOff((mail.delivery_id,), SINGLE_ENDPOINT, body=orjson.dumps(entry)))
            else:
                batched.append((mail.delivery_id, entry))
        batches = [
            HandOff(
                tuple(delivery_id for delivery_id, _ in group),
                BATCH_ENDPOINT,
                body=orjson.dumps([entry for _, entry in group]),
            )
            for group in groups_of(batched, LARGEST_BATCH)
        ]
        return batches + apart

    def hand_off(self, request: HandOff, permit: Permit) -> list[Outcome | None]:
        if request.body is None:
            return [_impossible(request.payload) for _ in request.members]
        try:
            permit()
        except LeaseLost:
            return [None for _ in request.members]
        members = len(request.members)
        started = time.perf_counter()
        answer = self._answer(request, request.body)
        duration_ms = round((time.perf_counter() - started) * 1000)
        if isinstance(answer, Outcome):
            return [replace(answer, duration_ms=duration_ms)] * members
        if request.endpoint == BATCH_ENDPOINT:
            return [*errors.of_batch(answer, members, self._from_domain, self._hide, duration_ms=duration_ms)]
        return [errors.of_single(answer, duration_ms=duration_ms)]

    def close(self) -> None:
        self._resend.session.close()

    def _answer(self, request: HandOff, body: bytes) -> Mapping[str, Any] | Outcome:
        """What Resend accepted, or the outcome that all members share."""
        try:
            answer = self._resend.post(request.endpoint, body, str(request.key))
        except ResendError as error:
            return errors.of_error(error, self._from_domain, self._hide)
        except NoContentError:
            return errors.of_unreadable_answer()
        return answer if isinstance(answer, dict) else errors.of_unreadable_answer()

    def _entry(self, mail: Mail) -> dict[str, object]:
        entry: dict[str, object] = {
            "from": _mailbox(mail.from_name, self._from_email),
            "to": [ascii_address(mail.to_email)],
            "subject": mail.subject,
            "html": mail.html,
            "text": mail.text,
            "tags": [
                {"name": name, "value": value} for name, value in tags_of(mail.delivery_id, mail.installation).items()
            ],
        }
        reply_to = usable_reply_to(mail.reply_to)
        if reply_to is not None:
            entry["reply_to"] = reply_to
        if mail.unsubscribe_url is not None:
            entry["headers"] = {
                "List-Unsubscribe": f"<{mail.unsubscribe_url}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            }
        if mail.attachments:
            entry["attachments"] = [
                {
                    "filename": attachment.filename,
                    "content_type": attachment.content_type,
                    "content": base64.b64encode(attachment.content).decode("ascii"),
                }
                for attachment in mail.attachments
            ]
        return entry


@lru_cache(_NAMES_KEPT)
def _mailbox(name: str, email: str) -> str:
    """`Name <email>` as Resend reads it: Unicode as it is, quotes only where a character would end the name."""
    name = clean_value(_NEVER_IN_A_NAME.sub("", name), _LONGEST_NAME)
    if not name:
        return email
    return f'"{name}" <{email}>' if _NEEDS_QUOTES.search(name) else f"{name} <{email}>"


def _impossible(problem: object) -> Outcome:
    why = problem if isinstance(problem, str) else "this is not an email address that mail can be sent to"
    return Outcome(OutcomeClass.PERMANENT, error_class="invalid_address", detail=f"{why}; correct it")
