"""A wire between a process and PostgreSQL that can be cut, also right after a COMMIT that the server still gets."""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit


@dataclass
class _Wire:
    client: socket.socket
    server: socket.socket
    has_said: bool = False
    swallows: bool = False

    def cut(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass
class PostgresProxy:
    """`url` leads to the same database as `target_url`, through the wire. Use it as a context manager."""

    target_url: str
    swallowed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        parts = urlsplit(self.target_url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._listener.getsockname()[1]}"))
        self._wires: list[_Wire] = []
        self._is_cut = False
        self._marker: bytes | None = None
        self._then: Callable[[], object] = lambda: None
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, and make none until `mend`."""
        self._is_cut = True
        for wire in self._wires:
            wire.cut()

    def mend(self) -> None:
        self._is_cut = False

    def swallow_commit_after(self, marker: bytes, then: Callable[[], object] = lambda: None) -> None:
        """Once: the server commits the transaction that said `marker`, and the answer never arrives."""
        self._marker, self._then = marker, then

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_cut:
                    client.close()
                    continue
                wire = _Wire(client, socket.create_connection(self._target))
                self._wires.append(wire)
                for pump in (self._to_server, self._to_client):
                    threading.Thread(target=pump, args=(wire,), daemon=True).start()

    def _to_server(self, wire: _Wire) -> None:
        with contextlib.suppress(OSError):
            while data := wire.client.recv(65536):
                if self._marker is not None and self._marker in data:
                    self._marker, wire.has_said = None, True
                wire.swallows = wire.has_said and b"COMMIT" in data
                wire.server.sendall(data)
        wire.cut()

    def _to_client(self, wire: _Wire) -> None:
        with contextlib.suppress(OSError):
            while data := wire.server.recv(65536):
                if wire.swallows:
                    self._then()
                    self.swallowed.set()
                    break
                wire.client.sendall(data)
        wire.cut()
