"""Sending one message to many guests by one or more runs, from its due instant to its last row.

`benchmarks.pairs` measures other commits with this very file: it uses little of the product, and that little by names
that stay.
"""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from benchmarks.cpu import cpu_seconds, cpu_seconds_of_tree, wait_for_exit
from benchmarks.figures import BenchImpossible, Figure
from benchmarks.stage import FROM_EMAIL, SECRET_KEY, Stage, make_big_event
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.factories import make_message

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
    """What one message took: from claimed to marked sent by the database's clock, and the largest run's memory.

    Processor time is that of all runs together, without their imports, and of all processes of PostgreSQL.
    """

    recipients: int
    seconds: float
    peak_megabytes: float
    run_cpu_seconds: float
    postgres_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Recipients per second."""
        return self.recipients / self.seconds

    @property
    def run_microseconds(self) -> float:
        """Processor time of the runs per mail."""
        return 1e6 * self.run_cpu_seconds / self.recipients

    @property
    def postgres_microseconds(self) -> float:
        """Processor time of PostgreSQL per mail."""
        return 1e6 * self.postgres_cpu_seconds / self.recipients


@dataclass(frozen=True, slots=True)
class _Run:
    peak_megabytes: float
    cpu_seconds: float


def send(stage: Stage, recipients: int, provider: dict[str, str], *, runs: int = 1) -> Sent:
    """Send one message with so many `runs` at once through the provider that these settings name."""
    with stage.database("sending") as (database, url):
        event = make_big_event(database, recipients)
        _checkpoint(database)
        environ = {"DATABASE_URL": url, "GUESTGUARD_SECRET_KEY": SECRET_KEY} | provider
        processes = [stage.python("benchmarks.send_run", environ) for _ in range(runs)]
        if any(process.stdout is None or process.stdout.readline() != "ready\n" for process in processes):
            raise BenchImpossible(f"a run could not be started:\n{stage.last_words()}")
        postmaster = _postmaster(database)
        postgres_before = cpu_seconds_of_tree(postmaster)
        message = make_message(database, event, subject=SUBJECT, body=BODY, send_in=_HEAD_START)
        with ThreadPoolExecutor(runs) as together:
            ended = list(together.map(lambda process: _finish(process, f"{message.id}\n"), processes))
        postgres = cpu_seconds_of_tree(postmaster) - postgres_before
        seconds, sent = _outcome(database)
    if seconds is None or sent != recipients or None in ended:
        raise BenchImpossible(f"{sent} of {recipients} recipients were sent to:\n{stage.last_words()}")
    finished = [run for run in ended if run is not None]
    return Sent(
        recipients=recipients,
        seconds=seconds,
        peak_megabytes=max(run.peak_megabytes for run in finished),
        run_cpu_seconds=sum(run.cpu_seconds for run in finished),
        postgres_cpu_seconds=postgres,
    )


def _checkpoint(database: Database) -> None:
    """Whoever is measured first leaves no unwritten pages to whoever is measured next."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))


def _finish(process: subprocess.Popen[str], line: str) -> _Run | None:
    """Let a run that is ready do its work; None when it failed."""
    if process.stdin is None or process.stdout is None:
        raise ValueError(f"process {process.pid} was started without pipes")
    before = cpu_seconds(process.pid)
    with process:
        process.stdin.write(line)
        process.stdin.close()
        answer = process.stdout.read()
        used = wait_for_exit(process.pid) - before
    return _Run(int(answer) / 1024, used) if process.returncode == 0 else None


def _postmaster(database: Database) -> int:
    with database.transaction() as connection:
        lock_file: str = connection.execute(text("SELECT pg_read_file('postmaster.pid')")).scalar_one()
    return int(lock_file.splitlines()[0])


def _outcome(database: Database) -> tuple[float | None, int]:
    """Seconds from claimed to sent of the only message, None if it was not, and how many deliveries were sent."""
    with database.transaction() as connection:
        # Another commit may have another name for it.
        connection.execute(
            text(
                "SELECT set_config('search_path', schemaname, true) FROM pg_tables "
                "WHERE tablename = 'scheduled_messages'"
            )
        )
        seconds = connection.execute(
            text(
                "SELECT CAST(extract(epoch FROM finished_at - started_at) AS double precision) "
                "FROM scheduled_messages WHERE status = 'sent'"
            )
        ).scalar_one_or_none()
        sent = connection.execute(text("SELECT count(*) FROM message_deliveries WHERE status = 'sent'"))
        return seconds, sent.scalar_one()


def cpu_figures(name: str, sent: Sent) -> list[Figure]:
    """What a mail cost the runs and PostgreSQL."""
    return [
        Figure(f"{name}, processor time a mail", f"{sent.run_microseconds:.0f} µs"),
        Figure(f"{name}, PostgreSQL's processor time a mail", f"{sent.postgres_microseconds:.0f} µs"),
    ]


def through_smtp(port: int) -> dict[str, str]:
    """The settings of a mail server on loopback."""
    return {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(port),
        "SMTP_TLS": "none",
        "SMTP_FROM_EMAIL": FROM_EMAIL,
    }
