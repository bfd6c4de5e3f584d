"""Log lines of every process of ours: one JSON object a line on standard error, with the `service` that wrote it.

Call `configure` once when a process starts. Records carry ids, never an address, a body or a token.
"""

import json
import logging
from datetime import UTC, datetime

# What every LogRecord has: whatever else is on a record was given as `extra`.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLineFormatter(logging.Formatter):
    """`timestamp`, `level`, `service`, `logger`, `message`, then the record's `extra` and its exception."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _STANDARD_FIELDS)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class _OurHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic only for type checkers
    """The handler that `configure` installs, so that a second call can find and replace it."""


def configure(service: str, *, debug: bool = False) -> None:
    """Log as `service` from now on. Safe to call again: the last call counts.

    With `debug` our own loggers speak from DEBUG up, else from INFO up; other libraries from WARNING up.
    """
    handler = _OurHandler()
    handler.setFormatter(JsonLineFormatter(service))
    handler.addFilter(_is_not_printed_by_dagster)
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, _OurHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    logging.getLogger("guestguard_dagster").setLevel(logging.DEBUG if debug else logging.INFO)


def _is_not_printed_by_dagster(record: logging.LogRecord) -> bool:
    # Dagster gives its loggers handlers of their own and lets records propagate: here they would appear twice.
    return record.name.partition(".")[0] not in {"dagster", "dagster-webserver"}
