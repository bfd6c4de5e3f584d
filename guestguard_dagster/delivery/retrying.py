"""Failed batches sent again: what fits is opened for a new round, and the send job does the rest.

Safe to run twice and at once: what is open already is no longer failed, and a message is opened under its lock.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import RetryFilter
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import MessageNotFound, Refused
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.retries import RetryGroup, RetryRepo


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """What fits of the messages of some days, and to which filter."""

    which: RetryFilter
    groups: Sequence[RetryGroup]

    @property
    def open_groups(self) -> list[RetryGroup]:
        return [group for group in self.groups if group.obstacle is None]

    @property
    def message_ids(self) -> list[UUID]:
        """The messages that can be tried again, each once."""
        return list(dict.fromkeys(group.message_id for group in self.open_groups))

    @property
    def deliveries(self) -> int:
        """How many deliveries would be opened."""
        return sum(group.deliveries for group in self.open_groups)

    @property
    def leaving(self) -> int:
        """How many of them would be handed off, as things stand now."""
        return sum(group.leaving for group in self.open_groups)


@dataclass(frozen=True, slots=True)
class RetryReport:
    """Deliveries opened, by message; and the messages that could not be opened any more, with the reason."""

    reopened: dict[UUID, int]
    left: dict[UUID, str]


def plan_retry(
    database: Database,
    days: Days,
    which: RetryFilter,
    *,
    message_ids: Collection[UUID] | None = None,
    sending_number: str | None = None,
) -> RetryPlan:
    """What would be sent again of the messages that were due on these days. Changes nothing."""
    found = RetryRepo(database).find(days, which, message_ids=message_ids, sending_number=sending_number)
    return RetryPlan(which, found)


def retry(database: Database, plan: RetryPlan) -> RetryReport:
    """Open what the plan found and what is still so; each message in a transaction of its own."""
    messages = MessageRepo(database)
    report = RetryReport({}, {})
    for message_id in plan.message_ids:
        try:
            report.reopened[message_id] = messages.retry_failed(message_id, plan.which)
        except (Refused, MessageNotFound) as refusal:
            report.left[message_id] = str(refusal)
    return report
