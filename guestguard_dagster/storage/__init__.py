"""PostgreSQL: tables, migrations, and a folder per noun. Driver objects never leave this folder.

A statement that the engine runs over many rows at once is text, as PostgreSQL reads it; one that is put together at run
time is a SQLAlchemy expression. Both take the rules of who gets mail from `conditions`.
"""
