"""PostgreSQL: tables, migrations, and a folder per noun. All SQL over our tables is here; driver objects stay here.

A statement that the engine runs over many rows at once is text, as PostgreSQL reads it; one that is put together at run
time is a SQLAlchemy expression. Both take the rules of who gets mail from `conditions`. What is done with rows, and
when, is decided by the rooms above; rules without I/O belong to `domain`.
"""
