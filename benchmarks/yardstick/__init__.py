"""django-post-office, sending the same mails from the same PostgreSQL server, in a virtual environment of its own."""
