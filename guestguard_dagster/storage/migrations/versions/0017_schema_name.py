"""The schema has another name than before; the functions of its triggers name its tables by it

Where the schema had the former name, `storage.migrate` has renamed it before this: what belongs to a table goes with it,
and only the text of functions stays.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_FUNCTIONS = """
CREATE OR REPLACE FUNCTION guestguard_messaging.notification_follows_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE guestguard_messaging.notifications
    SET status = NEW.status, reason = NEW.reason, provider_message_id = NEW.provider_message_id,
        error = NULLIF(concat_ws(' ', NEW.error_class, NEW.error_code, NEW.error_detail), ''),
        updated_at = clock_timestamp()
    WHERE id = NEW.notification_id;
    RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION guestguard_messaging.remember_deleted_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO guestguard_messaging.ledger_deleted_batches (batch_id, key)
    SELECT OLD.id, OLD.key FROM guestguard_messaging.ledger_position p
    WHERE OLD.recorded_at IS NULL OR OLD.recorded_at >= p.verified_at
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION guestguard_messaging.rename_returned_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO guestguard_messaging.ledger_deleted_batches (batch_id, key)
    SELECT OLD.id, OLD.key FROM guestguard_messaging.ledger_position ON CONFLICT DO NOTHING;
    NEW.key = gen_random_uuid();
    NEW.recorded_at = NULL;
    RETURN NEW;
END
$$
"""


def upgrade() -> None:
    op.execute(_FUNCTIONS)


def downgrade() -> None:
    """The functions stay as they are: they name the schema as it is called."""
