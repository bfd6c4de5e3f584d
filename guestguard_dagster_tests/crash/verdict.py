"""What the rows say, held against what arrived."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy import text

from guestguard_dagster.domain.deliveries import HANDED_OFF_STATUSES, DeliveryStatus
from guestguard_dagster.storage.database import Database

_SAYS_IT_LEFT = HANDED_OFF_STATUSES | {DeliveryStatus.UNKNOWN}
_ALL_SAID = {
    DeliveryStatus.UNKNOWN,
    DeliveryStatus.FAILED,
    DeliveryStatus.SKIPPED,
    DeliveryStatus.SUPPRESSED,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`lost` guests have neither mail nor a row that says why; `doubled` ones have more than one mail; `denied` ones
    have a mail that their row denies. `states` counts the rows by status, `arrived_unknown` the unknown ones that did
    arrive. `also` is what else a scenario promises never to happen, and how often it did.
    """

    guests: int
    mails: int
    lost: int
    doubled: int
    denied: int
    states: Counter[DeliveryStatus]
    arrived_unknown: int
    unfinished_messages: int
    also: Mapping[str, int] = field(default_factory=dict)

    def but(self, **never: int) -> "Verdict":
        """The same, with more that never happens: how often it did."""
        return replace(self, also={**self.also, **never})

    @property
    def unsettled(self) -> int:
        return sum(count for status, count in self.states.items() if not status.is_settled)

    @property
    def breaches(self) -> dict[str, int]:
        """What was promised never to happen and did; empty when the promise was kept."""
        found = {
            "lost": self.lost,
            "doubled": self.doubled,
            "denied": self.denied,
            "unsettled": self.unsettled,
            "unfinished messages": self.unfinished_messages,
            **self.also,
        }
        return {what: count for what, count in found.items() if count}

    def __str__(self) -> str:
        said = ", ".join(f"{count} {status}" for status, count in sorted(self.states.items()))
        return (
            f"{self.guests} guests, {self.mails} mails, {self.doubled} doubled, {self.lost} lost; "
            f"the rows say: {said} ({self.arrived_unknown} of the unknown arrived)"
        )


def judge(database: Database, message_ids: Sequence[UUID], arrived: Mapping[str, int]) -> Verdict:
    """`arrived` counts the mails or texts by address; every guest of these messages has an address of their own."""
    with database.transaction() as connection:
        rows = connection.execute(
            text(
                """
                SELECT CASE WHEN d.status = 'pending' AND b.state = 'sending' THEN 'sending'
                            ELSE COALESCE(d.status, 'pending') END AS status, d.reason,
                       CASE WHEN m.channel = 'sms' THEN g.phone ELSE g.email END AS address
                FROM scheduled_messages m
                JOIN guests g ON g.event_id = m.event_id
                LEFT JOIN message_deliveries d ON d.message_id = m.id AND d.guest_id = g.id
                LEFT JOIN delivery_batches b ON b.id = d.batch_id
                WHERE m.id = ANY(CAST(:ids AS uuid[]))
                """
            ),
            {"ids": list(message_ids)},
        ).all()
        unfinished = connection.execute(
            text(
                "SELECT count(*) FROM scheduled_messages "
                "WHERE id = ANY(CAST(:ids AS uuid[])) AND status IN ('scheduled', 'sending')"
            ),
            {"ids": list(message_ids)},
        ).scalar_one()
    standing = [(DeliveryStatus(row.status), row.reason, arrived.get(row.address, 0)) for row in rows]
    return Verdict(
        guests=len(standing),
        mails=sum(mails for _, _, mails in standing),
        lost=sum(mails == 0 and not (status in _ALL_SAID and reason) for status, reason, mails in standing),
        doubled=sum(mails > 1 for _, _, mails in standing),
        denied=sum(mails > 0 and status not in _SAYS_IT_LEFT for status, _, mails in standing),
        states=Counter(status for status, _, _ in standing),
        arrived_unknown=sum(mails > 0 and status is DeliveryStatus.UNKNOWN for status, _, mails in standing),
        unfinished_messages=unfinished,
    )
