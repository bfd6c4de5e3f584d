"""The ledger: what left, written down outside of the database, so that a restored database can be held against it.

An *entry* is a batch that is about to leave, a *mark* says up to when the ledger is complete, and a *gap* is a time in
which batches may have left without an entry.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class LedgerKind(StrEnum):
    ENTRY = "entry"
    MARK = "mark"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A batch that is about to leave.

    `recipients` are ids that a restore does not change: guests of a message, or the notifications or system mails
    themselves where `message_id` is None. `highest_delivery_id` is the highest one of its deliveries. `repeatable` says
    that the provider recognises a repeat under the batch's key.
    """

    batch_id: int
    key: UUID
    queue_id: UUID
    message_id: UUID | None
    recipients: tuple[UUID, ...]
    handed_off_at: datetime
    highest_delivery_id: int
    provider: str
    account: str
    repeatable: bool = False
    installation_id: UUID | None = None

    @property
    def dedupe_id(self) -> str:
        return str(self.key)

    def as_bytes(self) -> bytes:
        return _json(
            {
                "batch": self.batch_id,
                "key": str(self.key),
                "queue": str(self.queue_id),
                "message": self.message_id and str(self.message_id),
                "recipients": [str(recipient) for recipient in self.recipients],
                "at": self.handed_off_at.isoformat(),
                "highest_delivery": self.highest_delivery_id,
                "provider": self.provider,
                "account": self.account,
                "repeatable": self.repeatable,
                "installation": self.installation_id and str(self.installation_id),
            }
        )


@dataclass(frozen=True, slots=True)
class LedgerMark:
    """At `at`, every batch that had left between `complete_from` and `complete_until` is in the ledger.

    Marks are counted by the database, which commits each `number` before the mark is written.
    """

    number: int
    at: datetime
    complete_from: datetime
    complete_until: datetime
    installation_id: UUID | None = None

    @property
    def dedupe_id(self) -> None:
        return None

    def as_bytes(self) -> bytes:
        return _json(
            {
                "number": self.number,
                "at": self.at.isoformat(),
                "from": self.complete_from.isoformat(),
                "until": self.complete_until.isoformat(),
                "installation": self.installation_id and str(self.installation_id),
            }
        )


@dataclass(frozen=True, slots=True)
class LedgerGap:
    """Between these instants, both included, batches may have left without an entry."""

    since: datetime
    until: datetime
    installation_id: UUID | None = None

    @property
    def dedupe_id(self) -> None:
        return None

    def widened(self, other: "LedgerGap") -> "LedgerGap":
        """From the earlier beginning to the later end."""
        return LedgerGap(min(self.since, other.since), max(self.until, other.until), self.installation_id)

    def as_bytes(self) -> bytes:
        return _json(
            {
                "from": self.since.isoformat(),
                "until": self.until.isoformat(),
                "installation": self.installation_id and str(self.installation_id),
            }
        )


LedgerContent = LedgerEntry | LedgerMark | LedgerGap

KIND_OF: dict[type[LedgerContent], LedgerKind] = {
    LedgerEntry: LedgerKind.ENTRY,
    LedgerMark: LedgerKind.MARK,
    LedgerGap: LedgerKind.GAP,
}


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """Something as it lies in the ledger; `recorded_at` is the instant on the clock of NATS."""

    sequence: int
    recorded_at: datetime
    content: LedgerContent = field(repr=False)


def content_from(kind: LedgerKind, data: bytes) -> LedgerContent | None:
    """What was written; None for what is not of ours. A reader of a later version skips what it does not know."""
    try:
        return _READERS[kind](json.loads(data))
    except (ValueError, KeyError, TypeError):
        return None


def _entry(given: dict[str, Any]) -> LedgerEntry:
    return LedgerEntry(
        batch_id=int(given["batch"]),
        key=UUID(given["key"]),
        queue_id=UUID(given["queue"]),
        message_id=_optional_id(given.get("message")),
        recipients=tuple(UUID(recipient) for recipient in given["recipients"]),
        handed_off_at=datetime.fromisoformat(given["at"]),
        highest_delivery_id=int(given["highest_delivery"]),
        provider=str(given["provider"]),
        account=str(given["account"]),
        repeatable=bool(given.get("repeatable")),
        installation_id=_optional_id(given.get("installation")),
    )


def _mark(given: dict[str, Any]) -> LedgerMark:
    return LedgerMark(
        number=int(given["number"]),
        at=datetime.fromisoformat(given["at"]),
        complete_from=datetime.fromisoformat(given["from"]),
        complete_until=datetime.fromisoformat(given["until"]),
        installation_id=_optional_id(given.get("installation")),
    )


def _gap(given: dict[str, Any]) -> LedgerGap:
    return LedgerGap(
        since=datetime.fromisoformat(given["from"]),
        until=datetime.fromisoformat(given["until"]),
        installation_id=_optional_id(given.get("installation")),
    )


_READERS: dict[LedgerKind, Callable[[dict[str, Any]], LedgerContent]] = {
    LedgerKind.ENTRY: _entry,
    LedgerKind.MARK: _mark,
    LedgerKind.GAP: _gap,
}


def _optional_id(given: str | None) -> UUID | None:
    return UUID(given) if given else None


def _json(content: dict[str, object]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
