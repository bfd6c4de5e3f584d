"""A month of deliveries as they would be found in a busy installation: messages of events to come, and what failed."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import text

from guestguard_dagster.domain.days import Days
from guestguard_dagster.storage.database import Database

GUESTS_PER_EVENT = 250
_ACCOUNT = "smtp:history.example.com:587:"
_BATCH_SIZE = 50
_HOST = "history-host@example.com"

# Of a hundred deliveries, most arrive. What failed for a while may be tried again.
_FATES = """
    CASE
        WHEN fate < 0.9000 THEN 'delivered' WHEN fate < 0.9400 THEN 'sent' WHEN fate < 0.9480 THEN 'bounced'
        WHEN fate < 0.9483 THEN 'complained' WHEN fate < 0.9600 THEN 'failed' WHEN fate < 0.9800 THEN 'skipped'
        WHEN fate < 0.9970 THEN 'suppressed' ELSE 'unknown'
    END
"""


@dataclass(frozen=True, slots=True)
class History:
    """What was written: so many deliveries over these days, which end yesterday."""

    days: Days
    deliveries: int


def write_history(database: Database, days: Days, *, deliveries: int) -> History:
    """Write the rows of so many deliveries, evenly over the days, due from 8 to 16 o'clock.

    The events lie ahead, so that what failed can be sent again. Writing a million takes about a minute.
    """
    messages = -(-deliveries // (GUESTS_PER_EVENT * len(days)))
    values = {"events": messages, "guests": GUESTS_PER_EVENT, "zone": days.zone.key}
    with database.transaction() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(
            text("INSERT INTO users (email, name) VALUES (:email, 'Hanna Host') ON CONFLICT DO NOTHING"),
            {"email": _HOST},
        )
        connection.execute(
            text(
                """
                WITH written AS (
                    INSERT INTO events (name, venue, starts_at, timezone)
                    SELECT 'Summer Party ' || n, 'Rose Garden', now() + make_interval(days => 10 + n % 40), :zone
                    FROM generate_series(1, :events) n RETURNING id
                )
                INSERT INTO event_collaborators (event_id, user_id, role)
                SELECT written.id, users.id, 'owner' FROM written, users WHERE users.email = :host
                """
            ),
            values | {"host": _HOST},
        )
        connection.execute(
            text(
                """
                INSERT INTO guests (event_id, name, email, rsvp_status, rsvp_token)
                SELECT e.id, 'Guest ' || n, 'guest-' || n || '-' || left(md5(e.id::text), 10) || '@example.com',
                    (ARRAY['attending', 'pending', 'maybe', 'declined'])[1 + n % 4], md5(e.id::text || n)
                FROM events e, generate_series(1, :guests) n WHERE e.name LIKE 'Summer Party %'
                """
            ),
            values,
        )
        for day in days:
            connection.execute(
                text(
                    """
                    INSERT INTO scheduled_messages (event_id, kind, channel, audience, subject, body,
                        status, send_at, audience_frozen_at, recipient_count, preflighted_at, started_at, finished_at,
                        updated_at)
                    SELECT e.id, 'broadcast', 'email', 'everyone', 'News of {{event_name}}',
                        E'Hi {{guest_name}},\n\nsee you at {{venue}}.\n\n{{rsvp_link}}\n',
                        'sent', due.at, due.at, :guests, due.at, due.at, due.at + interval '1 minute',
                        due.at + interval '1 minute'
                    FROM events e
                    CROSS JOIN LATERAL (
                        SELECT CAST(:start AS timestamptz) + interval '8 hours'
                            + make_interval(mins => 15 * (hashtext(e.id::text) & 31)) AS at
                    ) due
                    WHERE e.name LIKE 'Summer Party %'
                    """
                ),
                values | {"start": day.start},
            )
        connection.execute(
            text(
                """
                INSERT INTO delivery_batches (queue_id, message_id, state, size, provider, account,
                    handed_off_at, created_at)
                SELECT m.id, m.id, 'done', LEAST(:size, :guests - first), 'smtp', :account, m.send_at, m.send_at
                FROM scheduled_messages m, generate_series(0, :guests - 1, :size) first
                WHERE m.subject = 'News of {{event_name}}' ORDER BY m.send_at, m.id, first
                """
            ),
            values | {"account": _ACCOUNT, "size": _BATCH_SIZE},
        )
        connection.execute(
            text(
                f"""
                WITH g AS MATERIALIZED (
                    SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY id) - 1 AS place FROM guests
                ), b AS MATERIALIZED (
                    SELECT id, message_id, row_number() OVER (PARTITION BY message_id ORDER BY id) - 1 AS number
                    FROM delivery_batches
                )
                INSERT INTO message_deliveries (message_id, event_id, guest_id, channel, status, reason,
                    retryable, attempts, error_class, provider, account, handed_off_at, settled_at, created_at,
                    updated_at, batch_id, attempted_at, outcome, duration_ms)
                SELECT m.id, m.event_id, g.id, 'email', d.status,
                    CASE d.status WHEN 'failed' THEN 'retries_exhausted' WHEN 'skipped' THEN 'not_in_audience'
                        WHEN 'suppressed' THEN 'suppressed' WHEN 'unknown' THEN 'answer_lost' END,
                    d.status = 'failed', CASE d.status WHEN 'failed' THEN 8 ELSE 0 END,
                    CASE d.status WHEN 'failed' THEN 'content_deferred' WHEN 'unknown' THEN 'ReadTimeout' END,
                    CASE WHEN d.was_given THEN 'smtp' END, CASE WHEN d.was_given THEN :account END,
                    CASE WHEN d.status IN ('sent', 'delivered', 'bounced', 'complained') THEN d.handed_off_at END,
                    d.handed_off_at + make_interval(secs => 20 * random()), m.send_at, d.handed_off_at, b.id,
                    CASE WHEN d.was_given THEN d.handed_off_at END,
                    CASE WHEN d.was_given THEN
                        CASE d.status WHEN 'failed' THEN 'transient' WHEN 'unknown' THEN 'unknown' ELSE 'sent' END END,
                    CASE WHEN d.was_given THEN 20 + 300 * random() END
                FROM scheduled_messages m
                JOIN g ON g.event_id = m.event_id
                JOIN b ON b.message_id = m.id AND b.number = g.place / :size
                CROSS JOIN LATERAL (
                    SELECT f.status, f.status NOT IN ('skipped', 'suppressed') AS was_given,
                        m.send_at + make_interval(secs => 0.2 - ln(1 - random() * 0.9999)) AS handed_off_at
                    FROM (SELECT {_FATES} AS status
                          FROM (SELECT random() + 0 * length(g.name || m.subject) AS fate) r) f
                ) d
                WHERE m.subject = 'News of {{{{event_name}}}}'
                ORDER BY m.send_at, m.id, g.id
                """
            ),
            {"account": _ACCOUNT, "size": _BATCH_SIZE},
        )
    _vacuum(database)
    with database.transaction() as connection:
        found = connection.execute(text("SELECT count(*) FROM message_deliveries")).scalar_one()
    return History(days, found)


def failed_by_day(database: Database, days: Days) -> dict[date, int]:
    """How many failed deliveries of each day's batches may be tried again."""
    return _count_by_day(database, days, "d.status = 'failed' AND d.retryable")


def sent_again_by_day(database: Database, days: Days) -> dict[date, int]:
    """How many deliveries of each day's batches were sent by a retry."""
    return _count_by_day(database, days, "d.status IN ('sent', 'delivered') AND d.round > 1")


def _count_by_day(database: Database, days: Days, which: str) -> dict[date, int]:
    with database.transaction() as connection:
        rows = connection.execute(
            text(
                f"""
                SELECT CAST(m.send_at AT TIME ZONE :zone AS date) AS day, count(*) AS deliveries
                FROM scheduled_messages m JOIN message_deliveries d ON d.message_id = m.id
                WHERE m.send_at >= :start AND m.send_at < :end AND {which} GROUP BY 1 ORDER BY 1
                """
            ),
            {"zone": days.zone.key, "start": days.start, "end": days.end},
        )
        return {row.day: row.deliveries for row in rows}


def _vacuum(database: Database) -> None:
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
