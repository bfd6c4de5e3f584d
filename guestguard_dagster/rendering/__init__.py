"""From a host's plain text to a mail or an SMS: placeholders, the sandbox, the HTML shell, the MIME skeleton.

It is given everything that it shows: nothing here reads the database or sends anything. Pages belong to `web`, reports
to `reporting`.
"""
