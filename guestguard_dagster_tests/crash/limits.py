"""Limits of a server, and a provider that serves nobody, or one recipient never: nobody else is to be blamed for it."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from sqlalchemy import text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.local.ports import free_port
from guestguard_dagster_tests.crash.loopbacks import http_reply, loopback, slow
from guestguard_dagster_tests.crash.passing_time import let_time_pass
from guestguard_dagster_tests.crash.providers import Access, Provider
from guestguard_dagster_tests.crash.scene import GUESTS, Scenario, Scene
from guestguard_dagster_tests.crash.stage import Stage, due_messages, see_off, start_worker
from guestguard_dagster_tests.crash.verdict import Verdict
from guestguard_dagster_tests.loopback import resend, ses, twilio
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.http_server import HttpResponse
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.loopback.smtp_features import SmtpFeatures

_DOWN_FOR = timedelta(hours=24)
_LOOKS_WHILE_DOWN = 12
_MOST_REOPENINGS = 2


def _few_connections(scene: Scene) -> Verdict:
    """Two runs, each of which would open more connections than the server takes from both."""
    with scene.stage(features=SmtpFeatures(most_connections=3), connections=6) as stage:
        stage.server.faults.add(slow(scene.provider))
        with stage.start_worker() as first, stage.start_worker() as second:
            stage.see_off(first)
            stage.see_off(second)
        stage.settle()
        if isinstance(stage.server, SmtpLoopback) and not stage.server.connections_refused:
            raise AssertionError("the server had to refuse no connection, so nothing is shown")
        return _nobody_is_blamed(stage)


def _few_mails(scene: Scene, reply: str) -> Verdict:
    with scene.stage(features=SmtpFeatures(mails_per_period=(20, 0.5), over_limit=reply)) as stage:
        stage.settle()
        if isinstance(stage.server, SmtpLoopback) and not stage.server.mails_refused:
            raise AssertionError("the server had to refuse no mail, so nothing is shown")
        return _nobody_is_blamed(stage)


def _down_for_long(scene: Scene) -> Verdict:
    """Run after run finds nobody there, for longer than a recipient who is not taken would be tried."""
    access = Access(scene.provider, free_port(), logs_in=True)
    ids = due_messages(scene.database, guests=GUESTS, channel=scene.provider.channel)
    for _ in range(_LOOKS_WHILE_DOWN):
        with start_worker(scene.database, access, ids) as worker:
            see_off(scene.database, worker)
        let_time_pass(scene.database, _DOWN_FOR / _LOOKS_WHILE_DOWN)
    with loopback(scene.provider, access.port) as server:
        stage = Stage(scene.database, server, access, ids)
        stage.settle()
        return _nobody_is_blamed(stage)


def _one_denied_forever(scene: Scene) -> Verdict:
    """Alone in its message, so that nobody beside it shows that the account is served."""
    with scene.stage(guests=(1, GUESTS - 1)) as stage:
        (denied,) = stage.addresses(stage.message_ids[0])
        stage.server.faults.add(_denials(denied)[scene.provider])
        stage.settle()
        verdict = stage.judge()
        return verdict.but(
            failed_beside_it=verdict.states[DeliveryStatus.FAILED] - 1,
            not_sent=verdict.guests - 1 - verdict.states[DeliveryStatus.SENT],
            breakers_left_open=_count(scene, "SELECT count(*) FROM breakers"),
            reopenings_too_many=max(0, _count(scene, _ATTEMPTS_FOLLOWED) - _MOST_REOPENINGS),
        )


def _nobody_is_blamed(stage: Stage) -> Verdict:
    """Everybody got it, and no try was counted against anybody."""
    verdict = stage.judge()
    with stage.database.transaction() as connection:
        blamed: int = connection.execute(text(_BLAMED)).scalar_one()
    return verdict.but(blamed=blamed, not_sent=verdict.guests - verdict.states[DeliveryStatus.SENT])


def _count(scene: Scene, query: str) -> int:
    with scene.database.transaction() as connection:
        count: int = connection.execute(text(query)).scalar_one()
        return count


def _denials(address: str) -> Mapping[Provider, Fault]:
    """What each provider says of a recipient whom this account may not write to, in words that could be about all."""
    forever = {"times": None, "only_for": address.removeprefix("+")}
    owner_only = resend.Refused(
        403, "validation_error", "You can only send testing emails to your own email address (owner@example.com)."
    )
    not_verified = (
        "Email address is not verified. The following identities failed the check in region EU-CENTRAL-1: " + address
    )
    not_reachable = twilio.error_body(400, 21612, "The 'To' phone number is not currently reachable using the 'From'")
    return {
        Provider.SMTP: Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.7.1 Relay access denied").model_copy(
            update=forever
        ),
        Provider.RESEND: http_reply(Provider.RESEND, owner_only.response({})).model_copy(update=forever),
        Provider.SES: http_reply(Provider.SES, ses.error_response(400, "MessageRejected", not_verified)).model_copy(
            update=forever
        ),
        Provider.TWILIO: http_reply(Provider.TWILIO, HttpResponse.of_json(400, not_reachable)).model_copy(
            update=forever
        ),
    }


_BLAMED = "SELECT count(*) FROM message_deliveries WHERE attempts > 0 OR provider_refusals > 0"
_ATTEMPTS_FOLLOWED = """
    SELECT count(*) FROM delivery_attempts a
    JOIN message_deliveries d ON d.id = a.delivery_id WHERE d.status = 'failed'
"""

LIMITS = (
    Scenario(
        "connection limit",
        "the server takes three connections, two runs would open six each; nobody fails",
        _few_connections,
        (Provider.SMTP,),
    ),
    Scenario(
        "rate limit of the server: 450",
        "of more than 20 mails in half a second the server says 450 at MAIL; nobody fails",
        partial(_few_mails, reply="450 4.7.1 Error: too much mail from client"),
        (Provider.SMTP,),
    ),
    Scenario(
        "rate limit of the server: 421",
        "the same with 421, which ends the connection; nobody fails",
        partial(_few_mails, reply="421 4.7.0 Too many messages, come back later"),
        (Provider.SMTP,),
    ),
    Scenario(
        "server down for long",
        "nobody listens for 24 hours, twelve runs find out; nobody fails",
        _down_for_long,
    ),
    Scenario(
        "one denied forever",
        "one recipient, alone in its message, is denied for ever in words that could mean all (SMTP: relay denied): "
        "that one fails after two reopenings of the breaker, the others of the run leave",
        _one_denied_forever,
    ),
)
