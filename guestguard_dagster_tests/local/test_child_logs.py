"""What children print becomes JSON lines: all of it in files, what matters on the console."""

import json
from pathlib import Path

import pytest

from guestguard_dagster.local.child_logs import ChildLogs, as_record


@pytest.mark.parametrize(
    ("service", "line", "level", "message"),
    [
        (
            "postgres",
            "2026-11-24 04:04:39.075 UTC [42] LOG:  database system is ready",
            "info",
            "database system is ready",
        ),
        ("postgres", "2026-11-24 04:04:39.075 UTC [42] ERROR:  duplicate key", "warning", "duplicate key"),
        ("postgres", "2026-11-24 04:04:39.075 UTC [42] FATAL:  no more sending", "error", "no more sending"),
        ("nats", "[7] 2026/11/24 04:20:00.256772 [WRN] Slow consumer", "warning", "Slow consumer"),
        ("nats", "[7] 2026/11/24 04:20:00.256772 [FTL] Can't start", "critical", "Can't start"),
        ("dagster", '{"event": "Launching", "level": "info", "logger": "dagster"}', "info", "Launching"),
        ("dagster", '{"message": "ours", "level": "warning"}', "warning", "ours"),
        (
            "dagster",
            "2026-11-24 04:16:43 +0000 - dagster - ERROR - send_scheduled - failed",
            "error",
            "2026-11-24 04:16:43 +0000 - dagster - ERROR - send_scheduled - failed",
        ),
        ("dagster", "{not json", "debug", "{not json"),
    ],
)
def test_each_service_keeps_its_level_and_message(service: str, line: str, level: str, message: str) -> None:
    record = as_record(service, line, level_before="debug")
    assert (record["service"], record["level"], record["message"]) == (service, level, message)


def test_a_service_named_in_the_line_stands() -> None:
    line = json.dumps({"service": "guestguard-run", "level": "info", "message": "sent"})
    assert as_record("dagster", line)["service"] == "guestguard-run"


def test_a_traceback_keeps_the_level_of_its_first_line(tmp_path: Path) -> None:
    logs = ChildLogs(tmp_path, console_level=None)
    logs("dagster", "2026-11-24 04:16:43 +0000 - dagster - ERROR - broken")
    logs("dagster", "Traceback (most recent call last):")
    assert [record["level"] for record in _records(logs, "dagster")] == ["error", "error"]


def test_the_console_shows_dagster_from_its_level_on_and_of_the_others_only_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = ChildLogs(tmp_path, console_level="info")
    logs("dagster", '{"event": "shown", "level": "info"}')
    logs("dagster", '{"event": "hidden", "level": "debug"}')
    logs("nats", "[7] 2026/11/24 04:20:00.256772 [INF] hidden")
    logs("nats", "[7] 2026/11/24 04:20:00.256772 [ERR] shown")
    logs.leave_console()
    logs("nats", "[7] 2026/11/24 04:20:00.256772 [ERR] hidden")
    console = capsys.readouterr()
    assert [json.loads(line)["message"] for line in console.err.splitlines()] == ["shown", "shown"]
    assert console.out == ""
    assert len(_records(logs, "dagster")) == 2
    assert len(_records(logs, "nats")) == 3


def test_a_full_disk_does_not_stop_the_child_that_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nats.jsonl").symlink_to("/dev/full")
    logs = ChildLogs(tmp_path)
    for _ in range(3):
        logs("nats", "[7] 2026/11/24 04:20:00.256772 [ERR] still here")
    assert capsys.readouterr().err.count("still here") == 3


def _records(logs: ChildLogs, service: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in logs.path(service).read_text().splitlines()]
