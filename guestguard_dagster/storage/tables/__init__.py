"""The tables, as SQLAlchemy Core. Changes to them are made by a new file under migrations/versions.

Every instant is `timestamptz` in UTC. States are text with a CHECK that names them: a new state is one migration.
Statements do not belong here: they are in the folders of their nouns.
"""
