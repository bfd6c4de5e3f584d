"""System mail: from this service itself to operators and hosts. It belongs to no message and to no notification."""

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid5

_QUEUES = UUID("0b7a4f0e-4c1f-4e0b-8c3e-1f0f7a5f6f52")
_MEMOS = UUID("f6a1c1d6-0a53-4a55-9f2d-0e4b3f1c7a08")


class SystemMailKind(StrEnum):
    REPORT = "report"
    ALERT = "alert"

    @property
    def label(self) -> str:
        """The name that people read."""
        return self.value.capitalize()

    @property
    def queue_id(self) -> UUID:
        """The queue of all system mail of this kind."""
        return uuid5(_QUEUES, self.value)


@dataclass(frozen=True, slots=True)
class SystemMail:
    """One mail to one person. Nobody gets two with the same `occasion`, which names what it is about for good."""

    kind: SystemMailKind
    occasion: str
    address: str = field(repr=False)
    name: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)

    @property
    def id(self) -> UUID:
        """The same whenever it is written again, also by a database that was restored."""
        return uuid5(_MEMOS, f"{self.occasion}\n{self.address.lower()}")
