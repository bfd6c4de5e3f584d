"""Runs: which messages they work on, what a terminated one holds, and signs of life."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from guestguard_dagster.domain.messages import HoldOwner, Message, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster_tests.factories import make_event, make_message, read_message, set_columns

A_MINUTE = timedelta(minutes=1)


@pytest.fixture
def runs(database: Database) -> RunRepo:
    return RunRepo(database)


@pytest.fixture
def message(database: Database) -> Message:
    return make_message(database, make_event(database), status=MessageStatus.SENDING)


def held_reason(database: Database, message: Message) -> str | None:
    return read_message(database, message.id).held_reason


def test_a_message_lists_its_runs_oldest_first(runs: RunRepo, message: Message) -> None:
    for run_id in ("z-first", "a-second", "m-third"):
        runs.record(run_id, [message.id])
    runs.record("z-first", [message.id])
    assert runs.runs_of(message.id) == ["z-first", "a-second", "m-third"]


def test_a_terminated_run_holds_what_it_left_unfinished(runs: RunRepo, database: Database, message: Message) -> None:
    event = make_event(database)
    due, sent = make_message(database, event), make_message(database, event, status=MessageStatus.SENT)
    ids = [message.id, due.id, sent.id]
    runs.record("run", ids)

    assert runs.hold("run", ids, reason="an operator stopped it") == 2

    assert held_reason(database, message) == held_reason(database, due) == "an operator stopped it"
    assert held_reason(database, sent) is None


def test_a_terminated_run_holds_once(runs: RunRepo, database: Database, message: Message) -> None:
    runs.record("run", [message.id])
    runs.hold("run", [message.id], reason="stopped")
    MessageRepo(database).resume(message.id)

    assert runs.hold("run", [message.id], reason="stopped") == 0
    assert held_reason(database, message) is None


def test_a_run_that_never_started_holds_too(runs: RunRepo, message: Message) -> None:
    assert runs.hold("never-started", [message.id], reason="stopped") == 1
    assert runs.runs_of(message.id) == ["never-started"]


def test_late_news_of_a_termination_spares_what_another_run_has_taken_up_since(
    runs: RunRepo, database: Database, message: Message
) -> None:
    runs.record("stopped", [message.id])
    terminated_at = database.now()
    runs.record("re-executed", [message.id], repeats=["stopped"])

    assert runs.hold("stopped", [message.id], reason="stopped", terminated_at=terminated_at) == 0
    assert held_reason(database, message) is None


def test_an_earlier_run_is_no_reason_to_spare_it(runs: RunRepo, database: Database, message: Message) -> None:
    runs.record("earlier", [message.id])
    runs.record("stopped", [message.id])
    assert runs.hold("stopped", [message.id], reason="stopped", terminated_at=database.now()) == 1


def test_a_re_executed_run_lifts_what_its_own_termination_held_and_the_wait_once(
    runs: RunRepo, database: Database, message: Message
) -> None:
    runs.hold("terminated", [message.id], reason="stopped")
    assert read_message(database, message.id).held_by is HoldOwner.RUN
    set_columns(database, message, not_before=database.now() + A_MINUTE, waiting_reason="waiting to try again")

    runs.record("again", [message.id], repeats=["terminated"])
    lifted = read_message(database, message.id)
    assert (lifted.held_at, lifted.held_by, lifted.held_reason) == (None, None, None)
    assert (lifted.not_before, lifted.waiting_reason) == (None, None)

    runs.hold("a third", [message.id], reason="stopped again")
    runs.record("again", [message.id], repeats=["terminated", "a third"])
    assert held_reason(database, message) == "stopped again", "the run's next step is no new consent"


@pytest.mark.parametrize("owner", [HoldOwner.HOST, HoldOwner.OPERATOR])
def test_no_run_lifts_what_a_person_holds(
    runs: RunRepo, database: Database, message: Message, owner: HoldOwner
) -> None:
    MessageRepo(database).hold([message.id], reason="stopped", by=owner)
    runs.hold("terminated", [message.id], reason="terminated")
    runs.record("again", [message.id], repeats=["terminated"])
    assert held_reason(database, message) == "stopped"


def test_a_host_who_stops_what_a_terminated_run_holds_already_is_not_overruled(
    runs: RunRepo, database: Database, message: Message
) -> None:
    runs.hold("terminated", [message.id], reason="terminated")
    assert MessageRepo(database).hold([message.id], reason="stopped") == [message.id]
    runs.record("again", [message.id], repeats=["terminated"])
    held = read_message(database, message.id)
    assert (held.held_by, held.held_reason) == (HoldOwner.HOST, "stopped")


@pytest.mark.parametrize("repeats", [[], ["another-run"]])
def test_a_run_that_repeats_another_one_or_none_lifts_no_hold(
    runs: RunRepo, database: Database, message: Message, repeats: list[str]
) -> None:
    runs.hold("terminated", [message.id], reason="stopped")
    runs.record("a run", [message.id], repeats=repeats)
    assert held_reason(database, message) == "stopped"


def test_what_a_terminated_run_holds_has_no_run_that_could_have_crashed(
    runs: RunRepo, database: Database, message: Message
) -> None:
    set_columns(database, message, asked_until=database.now() + A_MINUTE)
    runs.hold("terminated", [message.id], reason="stopped")
    assert read_message(database, message.id).asked_until is None


def test_a_heartbeat_is_measured_on_the_databases_clock(runs: RunRepo, database: Database) -> None:
    runs.beat("run", host="host-1", pid=7)
    with database.transaction() as connection:
        connection.execute(text("UPDATE run_heartbeats SET beat_at = beat_at - interval '10 minutes'"))
    old = runs.heartbeats(["run", "silent"])
    assert old.keys() == {"run"}
    assert 10 * A_MINUTE <= old["run"].age < 11 * A_MINUTE

    runs.beat("run", host="host-2", pid=8)
    young = runs.heartbeats(["run"])["run"]
    assert (young.host, young.pid) == ("host-2", 8)
    assert young.age < A_MINUTE
