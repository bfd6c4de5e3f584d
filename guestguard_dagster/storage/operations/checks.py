"""Checks: what must hold can be looked up in the rows: whether it was broken, and by which rows.

Examples carry ids and facts, never an address.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.domain.suppressions import for_sending_number
from guestguard_dagster.storage.database import Database, sql

MOST_EXAMPLES = 50

# Between the last look at suppressions and the hand-off lies no more than a batch's lease.
_HAND_OFF_TAKES = timedelta(minutes=2)
# The sensor, the queue and the start of a run take a minute; after this long something is wrong.
LATE = timedelta(minutes=5)
# A dead run's lease runs out within a minute; then its rows are settled by the next run.
STUCK = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class NotificationRecipients:
    """Which types of notifications go to the host, which to the `guest_email` of their payload (the others go to the
    address on the guest list), and which an unsubscribe spares."""

    to_host: Collection[NotificationType]
    to_given_address: Collection[NotificationType]
    unsubscribed_spared: Collection[NotificationType]


@dataclass(frozen=True, slots=True)
class Check:
    """How many rows break a promise, and up to MOST_EXAMPLES of them."""

    found: int
    examples: tuple[Mapping[str, Any], ...]

    @property
    def passed(self) -> bool:
        return self.found == 0


class CheckRepo:
    """Each method is one promise. `since` (timezone-aware) is how far back batches are looked at."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def wrong_audiences(self, since: datetime) -> Check:
        """Ended messages whose deliveries are not as many as the audience that was frozen."""
        return self._check(
            """
            SELECT m.id AS message, m.event_id AS event, m.status, m.recipient_count AS frozen, count(d.id) AS rows
            FROM scheduled_messages m LEFT JOIN message_deliveries d ON d.message_id = m.id
            WHERE m.status IN ('sent', 'failed') AND m.send_at >= :since
            GROUP BY m.id HAVING m.recipient_count IS DISTINCT FROM count(d.id)
            """,
            {"since": since},
        )

    def duplicates(self, since: datetime) -> Check:
        """Guests with two deliveries of one message on one channel, and notifications or system mails with two."""
        return self._check(
            """
            SELECT d.message_id AS message, d.guest_id AS guest, d.channel, count(*) AS deliveries
            FROM scheduled_messages m JOIN message_deliveries d ON d.message_id = m.id
            WHERE m.status IN ('sending', 'sent', 'failed') AND m.send_at >= :since
            GROUP BY d.message_id, d.guest_id, d.channel HAVING count(*) > 1
            UNION ALL
            SELECT COALESCE(notification_id, memo_id), CAST(min(CAST(guest_id AS text)) AS uuid), channel, count(*)
            FROM message_deliveries
            WHERE message_id IS NULL AND created_at >= :since AND COALESCE(notification_id, memo_id) IS NOT NULL
            GROUP BY 1, channel HAVING count(*) > 1
            """,
            {"since": since},
        )

    def written_to_despite_suppression(
        self, since: datetime, recipients: NotificationRecipients, *, sending_number: str | None
    ) -> Check:
        """Deliveries handed off since then to an address that had been suppressed before, within its scope.

        Guests are judged by the address they have now; `sending_number` (E.164) is whose STOPs count.
        """
        return self._check(
            """
            WITH handed_off AS (
                SELECT d.id, d.message_id, d.event_id, d.guest_id, d.channel, d.handed_off_at,
                    d.memo_id IS NULL AND COALESCE(n.type <> ALL(:spared), true) AS follows_unsubscribe,
                    CASE
                        WHEN d.memo_id IS NOT NULL THEN memo.address
                        WHEN n.type = ANY(:to_host) THEN host.email
                        WHEN n.type = ANY(:to_given_address) THEN n.payload ->> 'guest_email'
                        WHEN d.channel = 'email' THEN g.email
                        ELSE g.phone
                    END AS address, owner.user_id AS host_id
                FROM message_deliveries d
                LEFT JOIN guests g ON g.id = d.guest_id
                LEFT JOIN notifications n ON n.id = d.notification_id
                LEFT JOIN memos memo ON memo.id = d.memo_id
                LEFT JOIN event_collaborators owner ON owner.event_id = d.event_id AND owner.role = 'owner'
                LEFT JOIN users host ON host.id = owner.user_id
                -- what was handed off since then was also changed since then, which an index knows
                WHERE d.updated_at >= :since AND d.handed_off_at >= :since
            )
            SELECT h.id AS delivery, h.message_id AS message, h.event_id AS event, h.guest_id AS guest, h.channel,
                s.reason, s.source, s.created_at AS suppressed_at, h.handed_off_at
            FROM handed_off h
            JOIN suppressions s ON s.channel = h.channel AND s.address = lower(h.address)
                AND s.created_at < h.handed_off_at - CAST(:takes AS interval)
                AND (s.lifted_at IS NULL OR s.lifted_at > h.handed_off_at)
            WHERE s.scope = 'all'
                OR (s.scope = 'host:' || h.host_id AND h.follows_unsubscribe)
                OR (s.scope = :number_scope AND h.channel = 'sms')
            """,
            {
                "since": since,
                "takes": _HAND_OFF_TAKES,
                "spared": list(recipients.unsubscribed_spared),
                "to_host": list(recipients.to_host),
                "to_given_address": list(recipients.to_given_address),
                "number_scope": for_sending_number(sending_number) if sending_number else None,
            },
        )

    def stuck_hand_offs(self) -> Check:
        """Batches that are `sending` although their lease ran out long ago, and nobody asked that they wait."""
        return self._check(
            """
            SELECT b.id AS batch, b.message_id AS message, m.event_id AS event, b.size AS deliveries, b.provider,
                b.lease_expires_at
            FROM delivery_batches b
            LEFT JOIN scheduled_messages m ON m.id = b.message_id
            WHERE b.state <> 'done' AND b.state = 'sending'
                AND b.lease_expires_at < clock_timestamp() - CAST(:stuck AS interval)
                AND m.held_at IS NULL AND (m.not_before IS NULL OR m.not_before <= clock_timestamp())
            """,
            {"stuck": STUCK},
        )

    def overdue(self) -> Check:
        """Messages that should have left, or be leaving, and wait for nothing that we know of; late notifications."""
        return self._check(
            """
            SELECT m.id AS message, m.event_id AS event, m.status, m.send_at AS due_at, m.asked_until
            FROM scheduled_messages m
            WHERE m.status IN ('scheduled', 'sending') AND m.held_at IS NULL
                AND GREATEST(m.send_at, m.not_before) < clock_timestamp() - CAST(:late AS interval)
                -- a run that works on it renews the run request
                AND (m.status = 'scheduled' OR m.asked_until IS NULL
                    OR m.asked_until < clock_timestamp() - CAST(:late AS interval))
            UNION ALL
            SELECT COALESCE(d.notification_id, d.memo_id), d.event_id, d.status,
                GREATEST(d.created_at, b.not_before), NULL
            FROM delivery_batches b JOIN message_deliveries d ON d.batch_id = b.id
            WHERE b.message_id IS NULL AND b.state IN ('pending', 'leased') AND d.status = 'pending'
                AND GREATEST(b.created_at, b.not_before, b.lease_expires_at)
                    < clock_timestamp() - CAST(:late AS interval)
                -- while a provider takes nothing, its breaker says so
                AND NOT EXISTS (SELECT 1 FROM breakers)
            """,
            {"late": LATE},
        )

    def open_dead_letters(self) -> Check:
        """Events from NATS that could not be used, and that nobody has replayed or dismissed."""
        return self._check(
            "SELECT id AS dead_letter, type, sequence, reason, created_at AS since FROM dead_letters "
            "WHERE replayed_at IS NULL AND dismissed_at IS NULL",
            {},
        )

    def _check(self, query: str, values: Mapping[str, Any]) -> Check:
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(f"SELECT count(*) OVER () AS found, a.* FROM ({query}) a LIMIT {MOST_EXAMPLES}"), values
            ).all()
        examples = tuple(
            {name: _readable(value) for name, value in row._asdict().items() if name != "found"} for row in rows
        )
        return Check(rows[0].found if rows else 0, examples)


def _readable(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat(timespec="seconds")
        case UUID():
            return str(value)
        case _:
            return value
