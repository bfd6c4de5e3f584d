"""The send job as Dagster runs it: six ops, safe to run again in any part, telling an operator what they did."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from dagster import (
    DagsterExecutionInterruptedError,
    DagsterInstance,
    ExecuteInProcessResult,
    JobExecutionResult,
    ReexecutionOptions,
    execute_job,
    reconstructable,
)

from guestguard_dagster.delivery import claim as claiming
from guestguard_dagster.domain.messages import Message, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster_tests.dagster_rooms import environment, run_send_job, send_job
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message, set_columns
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback

HOUR = timedelta(hours=1)
OPS = ["claim", "load_recipients", "render", "dispatch", "record_deliveries", "mark_sent"]


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server, environment(monkeypatch, database_url, server):
        yield server


@pytest.fixture
def message(database: Database) -> Message:
    """A due message for three guests."""
    event = make_event(database)
    make_guests(database, event, 3)
    return make_message(database, event)


def reexecute(instance: DagsterInstance, parent_run_id: str, steps: list[str] | None = None) -> JobExecutionResult:
    """What the buttons of a run's page do: all steps, or a selection of them."""
    parent = instance.get_run_by_id(parent_run_id)
    assert parent is not None
    return execute_job(
        reconstructable(send_job),
        instance=instance,
        run_config=dict(parent.run_config),
        reexecution_options=ReexecutionOptions(parent_run_id=parent_run_id, step_selection=steps or []),
    )


def metadata_of(result: ExecuteInProcessResult, op: str) -> dict[str, object]:
    (event,) = [event for event in result.events_for_node(op) if event.is_successful_output]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def test_the_six_ops_send_a_due_message(
    instance: DagsterInstance, database: Database, mail_server: SmtpLoopback, message: Message
) -> None:
    result = run_send_job(instance, [message.id])

    assert result.success
    assert [step.step_key for step in result.get_step_success_events()] == OPS
    assert sorted(mail_server.recipients().values()) == [1, 1, 1]
    assert read_message(database, message.id).status is MessageStatus.SENT
    assert RunRepo(database).runs_of(message.id) == [result.run_id]


@pytest.mark.parametrize("steps", [None, *([op] for op in OPS), OPS[3:]], ids=str)
def test_executing_a_finished_run_again_sends_nothing_twice(
    instance: DagsterInstance, mail_server: SmtpLoopback, message: Message, steps: list[str] | None
) -> None:
    first = run_send_job(instance, [message.id])

    with reexecute(instance, first.run_id, steps) as again:
        assert again.success

    assert sorted(mail_server.recipients().values()) == [1, 1, 1]


def terminated_run(instance: DagsterInstance, database: Database, message: Message) -> str:
    """A run of this message that found nothing to do yet, and was terminated then; now the message is due."""
    set_columns(database, message, send_at=database.now() + HOUR)
    run = run_send_job(instance, [message.id])
    RunRepo(database).hold(run.run_id, [message.id], reason="an operator terminated the run")
    set_columns(database, message, send_at=database.now())
    return run.run_id


def test_executing_a_terminated_run_again_sends_the_rest(
    instance: DagsterInstance, database: Database, mail_server: SmtpLoopback, message: Message
) -> None:
    run_id = terminated_run(instance, database, message)

    assert run_send_job(instance, [message.id]).success
    assert not mail_server.accepted, "a new run is no consent"

    with reexecute(instance, run_id) as again:
        assert again.success
    assert sorted(mail_server.recipients().values()) == [1, 1, 1]
    assert read_message(database, message.id).status is MessageStatus.SENT


def test_executing_a_run_again_lifts_no_hold_that_a_host_set(
    instance: DagsterInstance, database: Database, mail_server: SmtpLoopback, message: Message
) -> None:
    run_id = terminated_run(instance, database, message)
    MessageRepo(database).resume(message.id)
    MessageRepo(database).hold([message.id], reason="stopped by Hanna Host")

    with reexecute(instance, run_id) as again:
        assert again.success
    assert not mail_server.accepted
    assert read_message(database, message.id).held_reason == "stopped by Hanna Host"


def test_a_run_tells_an_operator_what_it_did(
    instance: DagsterInstance, mail_server: SmtpLoopback, message: Message
) -> None:
    result = run_send_job(instance, [message.id])

    assert metadata_of(result, "load_recipients") == {"messages": 1, "recipients": 3}
    assert metadata_of(result, "dispatch")["recipients sent"] == 3
    end = metadata_of(result, "mark_sent")
    assert (end["messages sent"], end["recipients"], end["recipients sent"]) == (1, 3, 3)
    (row,) = end["messages"].records  # type: ignore[attr-defined]
    assert row.data["status"] == "sent"
    assert row.data["link"].endswith(f"/manage/{message.event_id}/communications")
    assert len(mail_server.accepted) == 3


def test_no_address_and_no_body_reaches_the_run(
    instance: DagsterInstance, mail_server: SmtpLoopback, message: Message
) -> None:
    result = run_send_job(instance, [message.id])

    logged = "\n".join(repr(entry) for entry in instance.all_logs(result.run_id))
    assert len(mail_server.accepted) == 3
    for mail in mail_server.accepted:
        assert mail.recipients[0] not in logged
    assert "see you at" not in logged


def test_without_a_provider_a_message_ends_as_failed_and_says_why(
    instance: DagsterInstance,
    database: Database,
    message: Message,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
) -> None:
    with environment(monkeypatch, database_url, None):
        assert run_send_job(instance, [message.id]).success

    failed = read_message(database, message.id)
    assert (failed.status, failed.status_reason) == (MessageStatus.FAILED, "no email provider configured")


def test_a_run_that_a_restart_interrupts_lets_its_messages_go(
    instance: DagsterInstance, database: Database, mail_server: SmtpLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = make_message(
        database, make_event(database), send_in=timedelta(seconds=80), asked_until=database.now() + HOUR
    )

    def interrupted(*_: object) -> None:
        raise DagsterExecutionInterruptedError

    # the signal itself: Dagster raises this in the main thread while the claim waits
    monkeypatch.setattr(claiming, "claim", interrupted)
    assert not run_send_job(instance, [message.id]).success

    left = read_message(database, message.id)
    assert (left.status, left.held_at, left.asked_until) == (MessageStatus.SCHEDULED, None, None)
    assert not mail_server.accepted
