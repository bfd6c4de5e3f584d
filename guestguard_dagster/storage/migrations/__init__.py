"""Alembic migrations of the `guestguard` schema. `migrate.py` runs them; versions/ holds one file per change."""
