"""What can go wrong at NATS: away for now, or refused for good. Texts name the server, never a credential."""


class StreamFailed(Exception):
    """NATS did not do what it was asked to; the text says what to check."""


class StreamUnavailable(StreamFailed):
    """The server cannot be reached, or went away during the call: it may come back by itself."""


class StreamRefused(StreamFailed):
    """The server answered, and refuses: credentials, permissions, JetStream switched off, subjects taken."""


class StreamMissing(StreamRefused):
    """There is no such stream or consumer."""
