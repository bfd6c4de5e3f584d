"""What metrics count: how much waits, how late it is, and what became of deliveries, from small indexes alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from guestguard_dagster.storage.database import Database, sql


@dataclass(frozen=True, slots=True)
class Gauges:
    """The present. `oldest_due_seconds` is how late the latest message is; `hand_offs` are all that were ever counted,
    by provider, account and answer."""

    messages_by_status: Mapping[str, int]
    messages_held: int
    deliveries_waiting: Mapping[tuple[str, str], int]
    oldest_due_seconds: float
    open_breakers: int
    open_dead_letters: int
    open_alerts: int
    behind_ledger: bool
    seconds_since_ledger_check: float | None
    seconds_since_tick: Mapping[str, float]
    hand_offs: Mapping[tuple[str, str, str], int]


class GaugeRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> Gauges:
        with self._database.transaction() as connection:
            messages = connection.execute(
                sql(
                    "SELECT status, count(*) AS messages FROM scheduled_messages "
                    "WHERE status IN ('scheduled', 'sending') GROUP BY status"
                )
            ).all()
            waiting = connection.execute(
                sql(
                    """
                    SELECT COALESCE(m.channel, 'email') AS channel,
                        CASE b.state WHEN 'sending' THEN 'sending' ELSE 'pending' END AS status,
                        sum(b.size) AS deliveries
                    FROM delivery_batches b
                    LEFT JOIN scheduled_messages m ON m.id = b.message_id
                    WHERE b.state <> 'done' GROUP BY 1, 2
                    """
                )
            ).all()
            one = connection.execute(
                sql(
                    """
                    SELECT
                        (SELECT count(*) FROM scheduled_messages
                         WHERE status IN ('scheduled', 'sending') AND held_at IS NOT NULL) AS held,
                        (SELECT date_part('epoch', clock_timestamp() - min(GREATEST(send_at, not_before)))
                         FROM scheduled_messages WHERE status = 'scheduled' AND held_at IS NULL
                             AND GREATEST(send_at, not_before) < clock_timestamp()) AS oldest_due,
                        (SELECT count(*) FROM breakers) AS breakers,
                        (SELECT count(*) FROM dead_letters
                         WHERE replayed_at IS NULL AND dismissed_at IS NULL) AS dead_letters,
                        (SELECT count(*) FROM alerts WHERE closed_at IS NULL) AS alerts,
                        EXISTS (SELECT FROM ledger_position WHERE behind_since IS NOT NULL) AS behind,
                        (SELECT date_part('epoch', clock_timestamp() - verified_at)
                         FROM ledger_position) AS ledger_age
                    """
                )
            ).one()
            ticks = connection.execute(
                sql("SELECT sensor, date_part('epoch', clock_timestamp() - ticked_at) AS age FROM sensor_ticks")
            ).all()
            answers = connection.execute(
                sql(
                    """
                    SELECT provider, account, answer.name, sum(answer.hand_offs) AS hand_offs
                    FROM provider_health
                    CROSS JOIN LATERAL (VALUES ('taken', taken), ('permanent', permanent), ('transient', transient),
                        ('provider_wide', provider_wide), ('unknown', unknown)) AS answer (name, hand_offs)
                    GROUP BY provider, account, answer.name
                    """
                )
            ).all()
        return Gauges(
            messages_by_status={row.status: row.messages for row in messages},
            messages_held=one.held,
            deliveries_waiting={(row.channel, row.status): row.deliveries for row in waiting},
            oldest_due_seconds=float(one.oldest_due or 0),
            open_breakers=one.breakers,
            open_dead_letters=one.dead_letters,
            open_alerts=one.alerts,
            behind_ledger=one.behind,
            seconds_since_ledger_check=one.ledger_age,
            hand_offs={(row.provider, row.account, row.name): int(row.hand_offs) for row in answers},
            seconds_since_tick={row.sensor: float(row.age) for row in ticks},
        )
