"""What child processes print, as JSON lines with `service`: all in a file per service, what matters on the console."""

import json
import logging
import re
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

_FILE_BYTES = 10 * 1024 * 1024
_OLDER_FILES = 2

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
# A refused statement is the business of whoever sent it, so PostgreSQL's ERROR is but a warning here.
_POSTGRES_LEVELS = {"ERROR": "warning", "WARNING": "warning", "FATAL": "error", "PANIC": "critical"}
_NATS_LEVELS = {"DBG": "debug", "INF": "info", "WRN": "warning", "ERR": "error", "FTL": "critical"}

_POSTGRES_LINE = re.compile(r"\S+ \S+ \S+ \[\d+\] (?P<level>[A-Z]+):\s+(?P<message>.*)")
_NATS_LINE = re.compile(r"\[\d+\] \S+ \S+ \[(?P<level>[A-Z]{3})\] (?P<message>.*)")
_DAGSTER_LINE = re.compile(r"(?:\x1b\[\d+m)*\d{4}-\d\d-\d\d .* - (?:\x1b\[\d+m)*(?P<level>[A-Z]+)(?:\x1b\[\d+m)* - ")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


class ChildLogs:
    """The sink of all children of one command. Files are kept below 30 MB a service.

    `console_level` is what the console shows of Dagster; of PostgreSQL and NATS it shows errors. None: nothing.
    """

    def __init__(self, folder: Path, *, console_level: str | None = "info") -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._console_level = console_level
        self._files: dict[str, RotatingFileHandler] = {}
        self._last_level: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, service: str, line: str) -> None:
        if not line.strip():
            return
        with self._lock:
            record = as_record(service, line, level_before=self._last_level.get(service, "debug"))
            level = str(record["level"])
            self._last_level[service] = level
            text = json.dumps(record, ensure_ascii=False, default=str)
            self._file(service).handle(logging.makeLogRecord({"msg": text}))
            if self._is_for_console(service, level):
                _print_to_console(text)

    def leave_console(self) -> None:
        """Write to the files alone from now on."""
        self._console_level = None

    def path(self, service: str) -> Path:
        return self._folder / f"{service}.jsonl"

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                file.close()

    def _file(self, service: str) -> RotatingFileHandler:
        if service not in self._files:
            self._files[service] = _QuietFileHandler(
                self.path(service), maxBytes=_FILE_BYTES, backupCount=_OLDER_FILES, encoding="utf-8"
            )
        return self._files[service]

    def _is_for_console(self, service: str, level: str) -> bool:
        if self._console_level is None:
            return False
        shown_from = self._console_level if service == "dagster" else "error"
        return _LEVELS.get(level, 20) >= _LEVELS[shown_from]


class _QuietFileHandler(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A full disk must not stop the services: what cannot be written is lost."""


def as_record(service: str, line: str, *, level_before: str = "info") -> dict[str, object]:
    """One printed line as a log record. A line without a level of its own continues the line before it."""
    stamp: dict[str, object] = {"timestamp": datetime.now(UTC).isoformat(timespec="milliseconds")}
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict):
            # structlog, which Dagster's JSON logs come from, says `event` for `message`.
            message = found.pop("event", found.pop("message", ""))
            level = str(found.pop("level", "info")).lower()
            return {**stamp, "level": level, "service": service, "message": message, **found}
    level, message = _plain(line, level_before)
    return {**stamp, "level": level, "service": service, "message": message}


def _plain(line: str, level_before: str) -> tuple[str, str]:
    readers: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
        (_POSTGRES_LINE, lambda name: _POSTGRES_LEVELS.get(name, "info")),
        (_NATS_LINE, lambda name: _NATS_LEVELS.get(name, "info")),
    )
    for pattern, level_of in readers:
        if match := pattern.fullmatch(line):
            return level_of(match["level"]), match["message"]
    if match := _DAGSTER_LINE.match(line):
        return match["level"].lower(), _COLOUR.sub("", line)
    return level_before, _COLOUR.sub("", line)


def _print_to_console(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        # The terminal is gone; the file has the line.
        return
