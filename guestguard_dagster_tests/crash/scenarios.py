"""Every fault that a send can meet, played against one provider on loopback: what is left of it in the rows.

Each scenario sends one message to GUESTS guests, lets the fault strike in the middle, lets everything recover as it
would by itself, and returns the verdict.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from sqlalchemy import text

from guestguard_dagster.local.nats import start_nats
from guestguard_dagster.local.ports import free_port, start_on_free_port
from guestguard_dagster.operations.ledger_replay import replay
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.streams.ledger import Ledger
from guestguard_dagster_tests.crash.gates import Point, Stop
from guestguard_dagster_tests.crash.loopbacks import http_reply, loopback, where
from guestguard_dagster_tests.crash.passing_time import live_leases
from guestguard_dagster_tests.crash.providers import Access, Provider
from guestguard_dagster_tests.crash.scene import GUESTS, Scenario, Scene
from guestguard_dagster_tests.crash.stage import Stage, due_messages, start_worker
from guestguard_dagster_tests.crash.verdict import Verdict
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.loopback import resend, ses, twilio
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.http_server import HttpResponse

_STRUCK = 3
_SHORT_PATIENCE_SECONDS = 1.0
_SHORT_LEASE_SECONDS = 2.0


def _refused(scene: Scene) -> Verdict:
    """Nobody listens at first."""
    access = Access(scene.provider, free_port(), logs_in=True)
    ids = due_messages(scene.database, guests=GUESTS, channel=scene.provider.channel)
    with start_worker(scene.database, access, ids) as worker:
        wait_until(lambda: _has_open_breaker(scene.database), "the run finds nobody there")
        with loopback(scene.provider, access.port) as server:
            stage = Stage(scene.database, server, access, ids)
            stage.see_off(worker)
            stage.settle()
            return stage.judge()


def _struck(scene: Scene, faults: Mapping[Provider, Fault], *, patience: float = 60) -> Verdict:
    """The provider behaves so for some mails, or for one batch."""
    with scene.stage(patience=patience) as stage:
        stage.server.faults.add(faults[scene.provider])
        stage.settle()
        return stage.judge()


def _client_errors(scene: Scene) -> Verdict:
    """Some recipients are refused; of a Resend batch, the others are taken."""
    if scene.provider is not Provider.RESEND:
        return _struck(scene, _CLIENT_ERRORS)
    with scene.stage() as stage:
        with scene.database.transaction() as connection:
            connection.execute(
                text(
                    "UPDATE guests SET email = split_part(email, '@', 1) || '@nowhere' "
                    "WHERE id IN (SELECT id FROM guests ORDER BY id LIMIT :struck)"
                ),
                {"struck": _STRUCK},
            )
        stage.settle()
        return stage.judge()


def _wrong_key(scene: Scene) -> Verdict:
    """The first run has a wrong password or key; somebody corrects it."""
    with scene.stage() as stage:
        wrong = Access(scene.provider, stage.access.port, logs_in=True, key="wrong")
        with stage.with_access(wrong).start_worker() as worker:
            worker.wait()
        stage.settle()
        return stage.judge()


def _killed_at(scene: Scene, point: Point) -> Verdict:
    with scene.stage() as stage:
        with stage.start_worker(stop=Stop(point)) as worker:
            worker.wait_at_gate()
            worker.kill()
        stage.settle()
        return stage.judge()


def _killed_during_the_call(scene: Scene) -> Verdict:
    """The provider has the mail, and keeps its answer until the run is dead."""
    with scene.stage() as stage:
        stage.server.faults.add(_keeps_its_answer(scene.provider))
        with stage.start_worker() as worker:
            wait_until(lambda: stage.mails() > 0, "the provider has a mail")
            worker.kill()
        stage.server.faults.clear()
        stage.settle()
        return stage.judge()


def _terminated_during_the_call(scene: Scene) -> Verdict:
    with scene.stage() as stage:
        with stage.start_worker(stop=Stop(Point.PERMITTED)) as worker:
            worker.wait_at_gate()
            worker.terminate()
            worker.open_gate()
            worker.wait()
        stage.settle()
        return stage.judge()


def _frozen_past_its_lease(scene: Scene) -> Verdict:
    """Another run does the rest meanwhile; then the first one goes on."""
    with scene.stage() as stage:
        with stage.start_worker(stop=Stop(Point.BEFORE_CALL), lease_seconds=_SHORT_LEASE_SECONDS) as worker:
            worker.wait_at_gate()
            worker.freeze()
            worker.open_gate()
            wait_until(lambda: live_leases(scene.database) == 0, "its lease runs out")
            stage.settle()
            worker.go_on()
            worker.wait()
        return stage.judge()


def _database_gone(scene: Scene) -> Verdict:
    """PostgreSQL is killed between the provider's answer and its being written down."""
    with scene.stage() as stage:
        with stage.start_worker(stop=Stop(Point.AFTER_CALL)) as worker:
            worker.wait_at_gate()
            scene.postgres.kill()
            worker.open_gate()
            scene.postgres.start_again()
            worker.wait()
        stage.settle()
        return stage.judge()


def _restored(scene: Scene) -> Verdict:
    """What left since the backup is known to the ledger alone."""
    with TemporaryDirectory(prefix="guestguard-nats-") as folder, scene.stage() as stage:
        nats = start_on_free_port(lambda port: start_nats(Path(folder), port=port))
        stage = replace(stage, nats_url=nats.url)
        settings = Settings(nats_url=SecretStr(nats.url))
        try:
            with Ledger.from_settings(settings) as ledger, scene.postgres.back_up(scene.database) as backup:
                with stage.start_worker(stop=Stop(Point.AFTER_CALL)) as worker:
                    worker.wait_at_gate()
                    worker.kill()
                restored, left = stage.on(backup), stage.mails()
                restored.run_hastily()
                if stage.mails() != left:
                    raise AssertionError("mail left a database that is behind its ledger")
                replay(backup, ledger)
                restored.settle()
                return restored.judge()
        finally:
            nats.stop()


def _has_open_breaker(database: Database) -> bool:
    with database.transaction() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM breakers")).scalar_one())


def _keeps_its_answer(provider: Provider) -> Fault:
    return Fault(at=where(provider, smtp_stage="content"), do=FaultKind.TAKE_THEN_HANG, times=None)


def _everywhere(kind: FaultKind, *, smtp_stage: str) -> Mapping[Provider, Fault]:
    """The same fault for some mails, or for one batch."""
    return {
        provider: Fault(
            at=where(provider, smtp_stage=smtp_stage),
            do=kind,
            times=1 if provider is Provider.RESEND else _STRUCK,
        )
        for provider in Provider
    }


def _smtp_reply(at: str, reply: str, *, times: int = _STRUCK) -> Fault:
    return Fault(at=at, do=FaultKind.REPLY, reply=reply, times=times)


def _resend_error(status: int, name: str, message: str, *, retry_after: int = 1) -> Fault:
    response = resend.Refused(status, name, message).response({"retry-after": str(retry_after)})
    return http_reply(Provider.RESEND, response)


def _ses_error(status: int, kind: str, message: str, *, times: int = _STRUCK) -> Fault:
    return http_reply(Provider.SES, ses.error_response(status, kind, message), times=times)


def _twilio_error(status: int, code: int, message: str, *, times: int = _STRUCK) -> Fault:
    response = HttpResponse.of_json(status, twilio.error_body(status, code, message))
    return http_reply(Provider.TWILIO, response, times=times)


_CLIENT_ERRORS = {
    Provider.SMTP: _smtp_reply("rcpt", "450 4.2.1 The mailbox is busy, try again later"),
    Provider.SES: _ses_error(400, "MessageRejected", "Transaction failed."),
    Provider.TWILIO: _twilio_error(400, 21211, "The 'To' number is not a valid phone number."),
}
_SERVER_ERRORS = {
    Provider.SMTP: _smtp_reply("rcpt", "550 5.1.1 No such user here"),
    Provider.RESEND: _resend_error(500, "internal_server_error", "An unexpected error occurred."),
    Provider.SES: _ses_error(500, "InternalFailure", "An internal error occurred."),
    Provider.TWILIO: _twilio_error(500, 20500, "An internal server error has occurred"),
}
_TOO_MANY = {
    Provider.SMTP: _smtp_reply("mail", "451 4.7.0 Too many messages, slow down"),
    Provider.RESEND: _resend_error(429, "rate_limit_exceeded", "Too many requests."),
    Provider.SES: _ses_error(429, "TooManyRequestsException", "Maximum sending rate exceeded."),
    Provider.TWILIO: _twilio_error(429, 20429, "Too Many Requests"),
}
_QUOTA = {
    Provider.SMTP: _smtp_reply("mail", "550 5.4.5 Daily sending quota exceeded", times=1),
    Provider.RESEND: _resend_error(429, "daily_quota_exceeded", "You have reached your daily quota."),
    Provider.SES: _ses_error(429, "LimitExceededException", "Daily message quota exceeded.", times=1),
    Provider.TWILIO: _twilio_error(429, 63038, "Account exceeded the daily messages limit", times=1),
}

SCENARIOS = (
    Scenario(
        "connection refused",
        "nobody listens where the provider should be; later it is there",
        _refused,
    ),
    Scenario(
        "timeout before the provider has it",
        "the provider falls silent before it has the mail (SMTP: at DATA), three times or for one batch",
        partial(_struck, faults=_everywhere(FaultKind.HANG, smtp_stage="data"), patience=_SHORT_PATIENCE_SECONDS),
    ),
    Scenario(
        "timeout after the provider has it",
        "the provider takes the mail and never answers, three times or for one batch",
        partial(
            _struck,
            faults=_everywhere(FaultKind.TAKE_THEN_HANG, smtp_stage="content"),
            patience=_SHORT_PATIENCE_SECONDS,
        ),
    ),
    Scenario(
        "connection dropped before the provider has it",
        "the connection closes before the provider has the mail (SMTP: at DATA), three times or for one batch",
        partial(_struck, faults=_everywhere(FaultKind.DROP, smtp_stage="data")),
    ),
    Scenario(
        "connection dropped after the provider has it",
        "the provider takes the mail and closes the connection without an answer, three times or for one batch",
        partial(_struck, faults=_everywhere(FaultKind.TAKE_THEN_DROP, smtp_stage="content")),
    ),
    Scenario(
        "4xx",
        "three guests are refused: SMTP 450, which is tried again; Resend names them in its answer to the batch; "
        "SES MessageRejected; Twilio 21211",
        _client_errors,
    ),
    Scenario(
        "5xx",
        "SMTP 550 for three guests, an answer about them; an HTTP 500, three times or for one batch, says nothing "
        "about what became of the mail",
        partial(_struck, faults=_SERVER_ERRORS),
    ),
    Scenario(
        "429",
        "too many requests (SMTP: 451 4.7.0), three times or for one batch",
        partial(_struck, faults=_TOO_MANY),
    ),
    Scenario(
        "quota used up",
        "the daily quota is said to be used up, once; the breaker opens, and closes when a probe gets through",
        partial(_struck, faults=_QUOTA),
    ),
    Scenario(
        "wrong key",
        "the first run has a wrong password or key; the next one has the right one",
        _wrong_key,
    ),
    Scenario(
        "SIGKILL before the call",
        "the batch is marked, nothing has left",
        partial(_killed_at, point=Point.BEFORE_CALL),
    ),
    Scenario(
        "SIGKILL during the call",
        "the provider has taken mail and not answered yet",
        _killed_during_the_call,
    ),
    Scenario(
        "SIGKILL after the call",
        "the provider has answered for the whole batch, nothing of it is written down",
        partial(_killed_at, point=Point.AFTER_CALL),
    ),
    Scenario(
        "SIGTERM during the call",
        "the run is stopped in the middle of its first batch",
        _terminated_during_the_call,
    ),
    Scenario(
        "SIGSTOP past the lease",
        "the run is frozen before the call, another run does the rest, then the first one goes on",
        _frozen_past_its_lease,
    ),
    Scenario(
        "database gone during the call",
        "PostgreSQL is killed after the provider has answered for the whole batch, and started again",
        _database_gone,
    ),
    Scenario(
        "restored from a backup",
        "a run is killed after its first batch, and the database is lost: a backup from before the run takes its "
        "place, and the ledger is replayed; a failover to an asynchronous replica is the same case",
        _restored,
    ),
)
