"""The schema: brought to the newest version once, by whoever comes first, without losing a row."""

import re
import subprocess
import sys

from alembic import command
from sqlalchemy import Connection, MetaData, inspect, select, text

from guestguard_dagster.notifications.registry import TYPES
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import alembic_config, current_revision, migrate, newest_revision
from guestguard_dagster.storage.tables.base import SCHEMA, metadata

_MIGRATE_THEN_PRINT = """
import sys
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import migrate

print("ready", flush=True)
sys.stdin.readline()
with Database(sys.argv[1]) as database:
    print(*migrate(database))
"""

# Rows as the first version had them, written without the code of today.
_ROWS_OF_THE_FIRST_VERSION = """
INSERT INTO users (id, email, name)
    VALUES ('00000000-0000-4000-8000-000000000001', 'Host@example.com', 'Hanna Host');
INSERT INTO events (id, name, venue, starts_at, timezone)
    VALUES ('00000000-0000-4000-8000-000000000002', 'Party', 'Here', '2031-06-01 18:00+02', 'Europe/Berlin');
INSERT INTO event_collaborators (event_id, user_id, role)
    VALUES ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'owner');
INSERT INTO guests (id, event_id, name, email, rsvp_token)
    VALUES ('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000002', 'Gil',
            'gil@example.com', 'token-of-gil');
INSERT INTO scheduled_messages (id, event_id, kind, channel, audience, subject, body, status, send_at)
    VALUES ('00000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-000000000002', 'broadcast', 'email',
            'everyone', 'Hello', 'Dear {{guest_name}}', 'sent', '2031-05-01 12:00+00');
INSERT INTO message_deliveries (message_id, event_id, guest_id, channel, status, provider_message_id)
    VALUES ('00000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-000000000002',
            '00000000-0000-4000-8000-000000000003', 'email', 'delivered', 'm-1');
INSERT INTO suppressions (channel, address, reason, source)
    VALUES ('email', 'gone@example.com', 'hard_bounce', 'resend');
"""


def test_migrating_twice_changes_nothing_the_second_time(empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        assert current_revision(database) is None
        assert migrate(database) == (None, newest_revision())
        assert migrate(database) == (newest_revision(), newest_revision())
        assert current_revision(database) == newest_revision()


def test_of_processes_that_migrate_at_once_one_does_it_and_the_others_find_it_done(empty_database_url: str) -> None:
    command = [sys.executable, "-c", _MIGRATE_THEN_PRINT, empty_database_url]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    head = newest_revision()
    assert sorted(outputs) == sorted([f"None {head}", f"{head} {head}", f"{head} {head}"])


def test_an_older_database_keeps_its_rows(empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        migrate(database, to="0001")
        with database.transaction() as connection:
            connection.exec_driver_sql(_ROWS_OF_THE_FIRST_VERSION)
            before = _all_rows(connection)
        migrate(database)
        assert current_revision(database) == newest_revision()
        with database.transaction() as connection:
            after = _all_rows(connection)
    assert len(before) == 7
    for table, row in before.items():
        kept = {name: value for name, value in row.items() if name in after[table]}
        assert after[table].items() >= kept.items()
        assert {name for name, value in row.items() if value is not None} <= kept.keys(), "nothing known is dropped"
    delivery = after["message_deliveries"]
    assert (delivery["batch_id"], delivery["notification_id"]) == (None, None)


_SPELLINGS = """
INSERT INTO suppressions (channel, address, scope, reason, source, created_at, lifted_at) VALUES
    ('email', 'anna@bücher.example', 'all', 'hard_bounce', 'resend', '2030-01-02', NULL),
    ('email', 'anna@xn--bcher-kva.example', 'all', 'manual', 'operator', '2030-01-03', NULL),
    ('email', 'ａnna@bücher.example', 'all', 'complaint', 'ses', '2030-01-01', NULL),
    ('email', 'anna@bü\u00adcher.example', 'host:1', 'unsubscribe', 'link', '2030-01-01', NULL),
    ('email', 'anna@BÜCHER.example', 'all', 'manual', 'operator', '2029-01-01', '2029-02-01'),
    ('email', 'no address', 'all', 'manual', 'operator', '2030-01-01', NULL),
    ('sms', '+491711234567', 'all', 'stop', 'twilio', '2030-01-01', NULL);
UPDATE guests SET email = 'Gil@bü\u00adcher.Example', responded_at = now() + interval '1 year';
UPDATE users SET email = 'Ｈost@ｅxample.com', created_at = '2030-01-01';
INSERT INTO users (email, name, created_at) VALUES ('HOST@exam\u00adple.com', 'Another', '2030-01-02');
"""


def test_addresses_of_before_take_their_canonical_form_and_no_suppression_is_lost(empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        migrate(database, to="0001")
        with database.transaction() as connection:
            connection.exec_driver_sql(_ROWS_OF_THE_FIRST_VERSION)
        migrate(database, to="0010")
        with database.transaction() as connection:
            connection.exec_driver_sql(_SPELLINGS)
        migrate(database)
        with database.transaction() as connection:
            kept = connection.execute(text("SELECT address, scope, reason FROM suppressions WHERE lifted_at IS NULL"))
            assert sorted(tuple(row) for row in kept) == [
                ("+491711234567", "all", "stop"),
                ("anna@xn--bcher-kva.example", "all", "complaint"),
                ("anna@xn--bcher-kva.example", "host:1", "unsubscribe"),
                ("gone@example.com", "all", "hard_bounce"),
                ("no address", "all", "manual"),
            ]
            lifted = text("SELECT address, reason FROM suppressions WHERE lifted_at IS NOT NULL")
            assert sorted(tuple(row) for row in connection.execute(lifted)) == [
                ("anna@xn--bcher-kva.example", "hard_bounce"),
                ("anna@xn--bcher-kva.example", "manual"),
                ("anna@xn--bcher-kva.example", "manual"),
            ]
            assert connection.execute(text("SELECT email FROM guests")).scalars().all() == ["Gil@xn--bcher-kva.example"]
            too_new = text("SELECT count(*) FROM guests WHERE responded_at > clock_timestamp()")
            assert connection.execute(too_new).scalar_one() == 0
            users = connection.execute(text("SELECT email FROM users ORDER BY created_at"))
            assert users.scalars().all() == ["Host@example.com", "HOST@exam\u00adple.com"]


def test_holds_of_before_are_carried_over_with_their_owners(empty_database_url: str) -> None:
    """What only the reason said until now: whose hold it is."""
    with Database(empty_database_url) as database:
        migrate(database, to="0010")
        reasons = (
            ("an operator terminated run 0a1b-2c; resume the message, or re-execute the run, to send the rest", True),
            ("stopped by Hanna Host", True),
            ("an operator terminated run long-ago; resume it", False),
        )
        with database.transaction() as connection:
            event = connection.exec_driver_sql(
                "INSERT INTO events (name, venue, starts_at, timezone) "
                "VALUES ('Party', 'Here', now() + interval '1 day', 'UTC') RETURNING id"
            ).scalar_one()
            for reason, held in reasons:
                connection.execute(
                    text(
                        "INSERT INTO scheduled_messages (event_id, kind, channel, audience, subject, body, "
                        "status, send_at, held_at, held_reason) VALUES (:event, 'broadcast', 'email', 'everyone', "
                        "'', '', 'sending', now(), CASE WHEN :held THEN now() END, :reason)"
                    ),
                    {"event": event, "held": held, "reason": reason},
                )
        migrate(database)
        with database.transaction() as connection:
            owners = connection.exec_driver_sql(
                "SELECT held_by, held_run_id FROM scheduled_messages ORDER BY held_at IS NULL, held_by DESC"
            ).all()
    assert [tuple(row) for row in owners] == [("run", "0a1b-2c"), ("host", None), (None, None)]


def test_a_new_migration_would_have_nothing_to_do(database: Database) -> None:
    with database.transaction() as connection:
        command.check(alembic_config(connection))


def test_the_schema_of_the_code_is_the_schema_of_the_migrations_to_the_last_detail(database: Database) -> None:
    with database.transaction() as connection:
        migrated = _shape(connection)
        # Which types of notifications there are is the registry's to say; only migrations tell the database.
        for table in ("notifications", "dead_letters"):
            rule = migrated.pop(f"ck_{table}_type")
            assert set(re.findall(r"'(\w+)'", rule)) == set(TYPES)
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert migrated == _shape(connection)
    assert {
        "ck_scheduled_messages_status",
        "ix_scheduled_messages_due",
        "scheduled_messages.send_at",
    } <= migrated.keys()


def test_going_back_removes_every_table(database: Database) -> None:
    with database.transaction() as connection:
        command.downgrade(alembic_config(connection), "base")
        assert inspect(connection).get_table_names(schema=SCHEMA) == ["alembic_version"]


def _all_rows(connection: Connection) -> dict[str, dict[str, object]]:
    """The row of each table that has one; here, no table has two."""
    tables = MetaData(schema=SCHEMA)
    tables.reflect(connection)
    rows = {
        table.name: connection.execute(select(table)).one_or_none()
        for table in tables.sorted_tables
        if table.name != "alembic_version"
    }
    return {name: row._asdict() for name, row in rows.items() if row is not None}


def _shape(connection: Connection) -> dict[str, str]:
    """Every column, constraint, index and storage option by its name, as PostgreSQL itself describes it."""
    query = text(
        """
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = CAST(CAST(:schema AS text) AS regnamespace) AND contype <> 'n'
        UNION ALL
        SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = :schema
        UNION ALL
        SELECT relname || ' options', CAST(reloptions AS text) FROM pg_class
        WHERE relnamespace = CAST(CAST(:schema AS text) AS regnamespace) AND relkind = 'r'
        UNION ALL
        SELECT table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default, is_identity)
        FROM information_schema.columns WHERE table_schema = :schema
        """
    )
    return dict(connection.execute(query, {"schema": SCHEMA}).tuples().all())
