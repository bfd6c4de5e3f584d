"""PostgreSQL: tables, migrations and one repository module per noun. Driver objects never leave this folder."""
