"""What can go wrong on a machine, as sentences that the command line prints."""


class LocalServiceError(RuntimeError):
    """A local service cannot start or stop. The text says what happened and what to do next."""


class PortTaken(LocalServiceError):
    """Another program listens on the port."""

    def __init__(self, port: int, wanted_by: str) -> None:
        super().__init__(
            f"port {port} is taken by another program, so {wanted_by} cannot use it; "
            "stop that program, or choose another port"
        )
        self.port = port
