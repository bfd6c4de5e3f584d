"""Mails that were received on this machine, one `.eml` file each, the oldest dropped beyond a limit.

Any mail program opens the files: what the SMTP dialogue said stands in front as `Return-Path` and `Delivered-To`.
"""

import email
import email.policy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage, MIMEPart
from functools import lru_cache
from pathlib import Path

_PREVIEW_LENGTH = 160


@dataclass(frozen=True, slots=True)
class MailSummary:
    """One line of the list. `to` holds the envelope's recipients; `sender` is the From header."""

    id: int
    received_at: datetime
    sender: str
    to: tuple[str, ...]
    subject: str
    preview: str


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """A whole mail. `text` or `html` is None where it has no such part; `source` is the file as it is."""

    summary: MailSummary
    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    attachments: tuple[Attachment, ...]
    source: bytes


class MailStore:
    """The mails in `folder`, at most `limit`. For one process at a time."""

    def __init__(self, folder: Path, *, limit: int = 2000) -> None:
        self._folder = folder
        self._limit = limit
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ids = sorted(int(path.stem) for path in folder.glob("*.eml") if path.stem.isdigit())
        self._next_id = (self._ids[-1] if self._ids else 0) + 1
        self._cached_read = lru_cache(maxsize=limit)(self._read)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def newest_id(self) -> int:
        """0 when there is no mail."""
        return self._ids[-1] if self._ids else 0

    def add(self, return_path: str, recipients: Sequence[str], source: bytes) -> int:
        """Keep a mail and return its id. OSError when the disk refuses it: nothing is kept then."""
        envelope = [f"Return-Path: <{return_path}>", *(f"Delivered-To: {recipient}" for recipient in recipients)]
        mail_id = self._next_id
        path, unfinished = self._path(mail_id), self._folder / "unfinished"
        unfinished.write_bytes("".join(f"{line}\r\n" for line in envelope).encode() + source)
        unfinished.rename(path)
        self._next_id += 1
        self._ids.append(mail_id)
        while len(self._ids) > self._limit:
            self._path(self._ids.pop(0)).unlink(missing_ok=True)
        return mail_id

    def newest_first(self, *, after: int = 0, containing: str = "") -> Iterator[MailSummary]:
        """The mails with an id above `after` whose recipient, sender or subject contains the text, in any case."""
        wanted = containing.casefold()
        for mail_id in reversed(self._ids):
            if mail_id <= after:
                return
            mail = self.get(mail_id)
            if mail is None:
                continue
            summary = mail.summary
            if wanted in " ".join((*summary.to, summary.sender, summary.subject)).casefold():
                yield summary

    def get(self, mail_id: int) -> ReceivedMail | None:
        """The mail with this id, or None if there is none, or not any more."""
        if mail_id not in self._ids:
            return None
        try:
            return self._cached_read(mail_id)
        except FileNotFoundError:
            return None

    def clear(self) -> None:
        for mail_id in self._ids:
            self._path(mail_id).unlink(missing_ok=True)
        self._ids.clear()

    def _path(self, mail_id: int) -> Path:
        return self._folder / f"{mail_id:08}.eml"

    def _read(self, mail_id: int) -> ReceivedMail:
        path = self._path(mail_id)
        source = path.read_bytes()
        message = email.message_from_bytes(source, policy=email.policy.default)
        text, html = _body(message, "plain"), _body(message, "html")
        summary = MailSummary(
            id=mail_id,
            received_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
            sender=str(message.get("From", "")),
            to=tuple(str(recipient) for recipient in message.get_all("Delivered-To", [])),
            subject=str(message.get("Subject", "")),
            preview=" ".join((text or "").split())[:_PREVIEW_LENGTH],
        )
        headers = tuple((name, str(value)) for name, value in message.items())
        return ReceivedMail(summary, headers, text, html, tuple(_attachments(message)), source)


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body(preferencelist=(kind,))
    return None if part is None else _text_of(part)


def _text_of(part: MIMEPart) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        text = content.decode(part.get_content_charset("utf-8"), errors="replace")
    except LookupError:
        text = content.decode("utf-8", errors="replace")
    return text.replace("\r\n", "\n")


def _attachments(message: EmailMessage) -> Iterator[Attachment]:
    for part in message.iter_attachments():
        payload = part.get_payload(decode=True)
        yield Attachment(
            filename=part.get_filename("attachment"),
            content_type=part.get_content_type(),
            content=payload if isinstance(payload, bytes) else b"",
        )
