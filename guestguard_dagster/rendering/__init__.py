"""From a host's plain text to a mail or an SMS: placeholders, the sandbox, the HTML shell, the MIME skeleton."""
