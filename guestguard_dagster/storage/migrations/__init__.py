"""Alembic migrations of the `guestguard` schema. `migrate.py` runs them; versions/ holds one file per change.

The tables as they are after all of them stand in `storage.tables`.
"""
