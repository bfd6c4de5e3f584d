"""TCP ports of this machine's loopback interface."""

import errno
import socket
from collections.abc import Callable
from typing import TypeVar

from guestguard_dagster.local.errors import LocalServiceError, PortTaken

LOOPBACK = "127.0.0.1"
_ATTEMPTS = 5

Server = TypeVar("Server")


def is_free(port: int) -> bool:
    """Whether nothing listens on the port right now, on loopback or on all addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # What servers do as well: a port whose last connections are still in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port_from(port: int) -> int:
    """The first free port at or soon after this one, else any."""
    return (
        next((candidate for candidate in range(port, min(port + 50, 65536)) if is_free(candidate)), None) or free_port()
    )


def free_port() -> int:
    """A port that nothing listens on right now. Another program may take it before you do."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def start_on_free_port(start: Callable[[int], Server]) -> Server:
    """Call `start` with free ports until one is still free when the server takes it."""
    return retry_while_taken(lambda: start(free_port()))


def retry_while_taken(start: Callable[[], Server]) -> Server:
    """Call `start`, which chooses its ports itself, again when another program was quicker, a few times."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return start()
        except PortTaken:
            continue
    return start()


def listen(port: int, *, wanted_by: str) -> socket.socket:
    """A socket that listens on the port (0: any free one). Raises PortTaken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(port, wanted_by) from None
        raise LocalServiceError(f"{wanted_by} cannot listen on port {port}: {error.strerror}") from error
    return listener
