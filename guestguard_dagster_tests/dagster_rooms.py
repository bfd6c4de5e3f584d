"""The code location as production wires it, pointed at a test's database and mail server by the environment alone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult, JobDefinition

from guestguard_dagster.definitions import build_defs
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


@contextmanager
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str, mail_server: SmtpLoopback | None) -> Iterator[None]:
    """The variables that a deployment would set; without a mail server, no email provider is configured."""
    values = {"DATABASE_URL": database_url, "GUESTGUARD_SECRET_KEY": "a secret for tests only"}
    if mail_server is not None:
        values |= {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail_server.port),
            "SMTP_TLS": "none",
            "SMTP_FROM_EMAIL": "events@guestguard.example",
        }
    with monkeypatch.context() as patched:
        for name, value in values.items():
            patched.setenv(name, value)
        yield


def send_job() -> JobDefinition:
    return build_defs().resolve_job_def("send_scheduled")


def run_send_job(
    instance: DagsterInstance, message_ids: list[UUID], *, tags: Mapping[str, Any] | None = None
) -> ExecuteInProcessResult:
    """The job as a sensor's run request would launch it, in this process."""
    return send_job().execute_in_process(
        run_config={"message_ids": [str(id) for id in message_ids]},
        instance=instance,
        tags={"dagster/sensor_name": "due_messages", **(tags or {})},
        raise_on_error=False,
    )
