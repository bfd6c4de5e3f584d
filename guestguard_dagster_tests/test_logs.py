"""Log lines are JSON with the service that wrote them."""

import json
import logging
from collections.abc import Iterator

import pytest

from guestguard_dagster import logs


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("guestguard_dagster")
    handlers, level = list(root.handlers), ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)


def test_a_line_names_its_service_and_carries_what_was_added(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("guestguard-web")
    logging.getLogger("guestguard_dagster.web").info("sent %s", "it", extra={"message_id": 7})
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record["service"] == "guestguard-web"
    assert record["level"] == "info"
    assert record["message"] == "sent it"
    assert record["message_id"] == 7
    assert record["timestamp"].endswith("+00:00")


def test_an_exception_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("guestguard-web")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("guestguard_dagster").exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: broken" in json.loads(line)["exception"]


@pytest.mark.parametrize(("debug", "lines"), [(False, 0), (True, 1)])
def test_debug_lines_are_for_development(capsys: pytest.CaptureFixture[str], debug: bool, lines: int) -> None:
    logs.configure("guestguard-web", debug=debug)
    logging.getLogger("guestguard_dagster.web").debug("detail")
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_configuring_twice_does_not_print_twice(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("one")
    logs.configure("two")
    logging.getLogger("guestguard_dagster").warning("once")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["service"] == "two"


def test_what_dagster_prints_itself_is_not_printed_again(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("guestguard-code")
    logging.getLogger("dagster.daemon").warning("Dagster's own")
    assert capsys.readouterr().err == ""
