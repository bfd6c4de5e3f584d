"""Each state of a message has one module that writes it."""

import re
from pathlib import Path

import guestguard_dagster

_ROOT = Path(guestguard_dagster.__file__).parent
_WRITES = re.compile(
    r"UPDATE\s+(guestguard\.)?scheduled_messages|INSERT\s+INTO\s+(guestguard\.)?scheduled_messages"
    r"|\b(update|insert|upsert)\((scheduled_)?messages\)"
)

# The whole life; which run was requested, and how long it waits; the audience; that it was checked.
_WRITERS = {
    "storage/messages/ending.py",
    "storage/messages/holds.py",
    "storage/messages/leaving.py",
    "storage/messages/writing.py",
    "storage/messages/run_requests.py",
    "storage/deliveries/audiences.py",
    "storage/messages/progress.py",
}


def sources() -> dict[str, str]:
    return {
        str(path.relative_to(_ROOT)): path.read_text() for path in _ROOT.rglob("*.py") if "migrations" not in path.parts
    }


def writing(column: str) -> set[str]:
    """The modules that write scheduled_messages and name this column with a value."""
    value = re.compile(rf"\b{column}\s*=[^=]|\"{column}\":")
    return {name for name, text in sources().items() if _WRITES.search(text) and value.search(text)}


def test_nobody_else_writes_messages() -> None:
    assert {name for name, text in sources().items() if _WRITES.search(text)} <= _WRITERS


def test_a_hold_and_a_run_request_have_one_writer_each() -> None:
    assert writing("held_by") == writing("held_run_id") == {"storage/messages/holds.py"}
    assert writing("ask_no") == writing("probed_at") == {"storage/messages/run_requests.py"}


def test_only_the_life_of_a_message_writes_its_status() -> None:
    assert all(name.startswith("storage/messages/") for name in writing("finished_at") | writing("started_at"))
