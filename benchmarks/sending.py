"""Sending one message to many guests by one or more runs, from its due instant to its last row."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.figures import BenchImpossible
from benchmarks.stage import FROM_EMAIL, SECRET_KEY, Stage, make_big_event
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.messages import MessageRepo
from guestguard_dagster_tests.factories import make_message, read_message

SUBJECT = "News about {{event_name}}"
BODY = """Hi {{guest_name}},

only a few days to go until {{event_name}} at {{venue}} on {{event_date}}. Doors open half an hour earlier.

{{rsvp_link}}

See you soon!
"""

# Runs that are ready wait for the due instant together.
_HEAD_START = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one message took: from claimed to marked sent by the database's clock, and the largest run's memory."""

    recipients: int
    seconds: float
    peak_megabytes: float

    @property
    def rate(self) -> float:
        """Recipients per second."""
        return self.recipients / self.seconds


def send(stage: Stage, recipients: int, provider: dict[str, str], *, runs: int = 1) -> Sent:
    """Send one message with so many `runs` at once through the provider that these settings name."""
    with stage.database("sending") as (database, url):
        event = make_big_event(database, recipients)
        environ = {"DATABASE_URL": url, "GUESTGUARD_SECRET_KEY": SECRET_KEY} | provider
        processes = [stage.python("benchmarks.send_run", environ) for _ in range(runs)]
        if any(process.stdout is None or process.stdout.readline() != "ready\n" for process in processes):
            raise BenchImpossible(f"a run could not be started:\n{stage.last_words()}")
        message = make_message(database, event, subject=SUBJECT, body=BODY, send_in=_HEAD_START)
        with ThreadPoolExecutor(runs) as together:
            answers = list(together.map(lambda process: process.communicate(f"{message.id}\n")[0], processes))
        ended = read_message(database, message.id)
        sent = MessageRepo(database).delivery_stats([message.id])[message.id].by_status.get("sent", 0)
    if ended.status is not MessageStatus.SENT or sent != recipients or not (ended.started_at and ended.finished_at):
        raise BenchImpossible(f"{sent} of {recipients} recipients were sent to:\n{stage.last_words()}")
    peak = max(int(answer) for answer in answers) / 1024
    return Sent(recipients, (ended.finished_at - ended.started_at).total_seconds(), peak)


def through_smtp(port: int) -> dict[str, str]:
    """The settings of a mail server on loopback."""
    return {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(port),
        "SMTP_TLS": "none",
        "SMTP_FROM_EMAIL": FROM_EMAIL,
    }
