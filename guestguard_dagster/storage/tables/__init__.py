"""The tables, as SQLAlchemy Core. Changes to them are made by a new file under migrations/versions."""
