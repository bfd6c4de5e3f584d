from collections.abc import Iterator

import pytest
from dagster import DagsterInstance

from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.runs import RunRepo
from guestguard_dagster_tests.dagster_rooms import environment, run_send_job
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server, environment(monkeypatch, database_url, server):
        yield server


def test_the_six_ops_send_a_due_message(
    instance: DagsterInstance, database: Database, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 3)
    message = make_message(database, event)

    result = run_send_job(instance, [message.id])

    assert result.success
    assert [step.step_key for step in result.get_step_success_events()] == [
        "claim",
        "load_recipients",
        "render",
        "dispatch",
        "record_deliveries",
        "mark_sent",
    ]
    assert mail_server.recipients() == {guest.email: 1 for guest in guests}
    assert read_message(database, message.id).status is MessageStatus.SENT
    assert RunRepo(database).runs_of(message.id) == [result.run_id]
