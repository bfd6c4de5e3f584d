"""Events of the stream and the mails that answer them; and what could not be used, and what we publish ourselves."""
