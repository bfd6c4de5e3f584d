"""All of GuestGuard on this machine: the parts of the plan are started here, in order, and stopped again.

What is used comes up before what uses it, and goes down after it.
"""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

from guestguard_dagster.local import env_file, postgres
from guestguard_dagster.local.child import Child, LineSink, marked_environ, marked_processes, stop_marked
from guestguard_dagster.local.dagster_dev import DagsterDev, check_project, start_dagster
from guestguard_dagster.local.demo_host import demo_host
from guestguard_dagster.local.errors import LocalServiceError, PortTaken
from guestguard_dagster.local.folder import DataFolder
from guestguard_dagster.local.mail_catcher import MailCatcher, start_mail_catcher
from guestguard_dagster.local.nats import NatsServer, start_nats
from guestguard_dagster.local.plan import Plan
from guestguard_dagster.local.ports import LOOPBACK, free_port_from, is_free, listen, retry_while_taken
from guestguard_dagster.local.postgres import PostgresServer, start_postgres
from guestguard_dagster.local.upgrade import upgrade_database
from guestguard_dagster.local.web_server import WebServer, start_web, web_address
from guestguard_dagster.settings import Settings, load_settings
from guestguard_dagster.storage.database import Database

MAIL_FROM = "hello@guestguard.localhost"
# One above the servers' own, so that those may run beside ours.
DEFAULT_PORTS: Mapping[str, int] = {
    "postgres": 5433,
    "nats": 4223,
    "smtp": 1025,
    "mail": 8025,
    "web": 8000,
    "dagster": 3000,
}

_LABELS: Mapping[str, str] = {
    "postgres": "PostgreSQL",
    "nats": "NATS",
    "smtp": "the mail catcher's SMTP server",
    "mail": "the mail catcher's page",
    "web": "GuestGuard's web application",
    "dagster": "Dagster",
}
_LEFTOVER_SECONDS = 5


class Stack:
    """The parts that run, and `environ`: what a process needs to reach all of them.

    `say` is called with each sentence that a person at the terminal should read. The folder must be locked.
    """

    def __init__(
        self,
        project: Path,
        folder: DataFolder,
        plan: Plan,
        *,
        ports: Mapping[str, int],
        sink: LineSink,
        say: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.environ: dict[str, str] = dict(plan.environ)
        self.postgres: PostgresServer | None = None
        self.nats: NatsServer | None = None
        self.mail: MailCatcher | None = None
        self.web: WebServer | None = None
        self.dagster: DagsterDev | None = None
        self._project = project
        self._folder = folder
        self._requested_ports = ports
        self._sink = sink
        self._say = say
        self._own_entries: dict[str, str] = {}

    def start_services(self) -> None:
        """Start PostgreSQL, NATS and the mail catcher as planned, and bring the database's schema up to date."""
        self._stop_leftovers()
        if self.plan.starts_postgres:
            self._start_postgres()
        else:
            self._offer(DAGSTER_DATABASE_URL=self.plan.settings.require_dagster_database_url())
        if self.plan.starts_nats:
            self._start_nats()
        if self.plan.starts_mail_catcher:
            self._start_mail_catcher()
        self._offer(GUESTGUARD_SECRET_KEY=self._folder.secret_key())
        upgrade_database(self.environ["DATABASE_URL"])
        if env_file.read_block(self._env_path):
            self.write_env_file()

    def start_pages(self) -> None:
        """Start the web application and `dagster dev` on top; each knows where the other is, for its links."""
        check_project(self._project)
        listener = retry_while_taken(lambda: listen(self._choose_port("web"), wanted_by=_LABELS["web"]))
        self._offer(PUBLIC_BASE_URL=web_address(listener.getsockname()[1]))
        self._say("Dagster is loading; that takes some seconds …")
        self.dagster = retry_while_taken(self._start_dagster)
        self._start_web(listener)

    def write_env_file(self) -> list[str]:
        """Write what the parts started here need into `.env`; returns the names of the entries."""
        env_file.write_block(self._env_path, self._own_entries)
        return list(self._own_entries)

    def announce(self, command: str) -> None:
        """Let other commands in this folder find what runs."""
        settings = {name: value for name, value in self.environ.items() if name.lower() in Settings.model_fields}
        self._folder.announce(command, settings)

    def require_mail(self) -> MailCatcher:
        if self.mail is None:
            raise LocalServiceError("the mail catcher is not running: the settings name another mail provider")
        return self.mail

    def require_dagster(self) -> DagsterDev:
        if self.dagster is None:
            raise LocalServiceError("Dagster is not running")
        return self.dagster

    def what_stopped(self) -> str | None:
        """A sentence about the first part that has ended by itself, or None while all run."""
        for label, child in self._children().items():
            if child.exit_code is not None:
                last_line = child.output.rpartition("\n")[2]
                return f"{label} stopped by itself (exit code {child.exit_code}): {last_line}"
        if self.mail is not None and not self.mail.is_running:
            return "the mail catcher stopped by itself"
        if self.web is not None and not self.web.is_running:
            return "the web application stopped by itself"
        return None

    def stop(self) -> None:
        """Stop everything that was started, whatever state it is in. Safe to call twice."""
        for part in (self.web, self.dagster, self.nats, self.mail):
            if part is not None:
                part.stop()
        # What was interrupted between its birth and our taking note of it, and what its parent lost.
        stop_marked(self._folder.path, grace_seconds=_LEFTOVER_SECONDS)
        if self.postgres is not None:
            self.postgres.stop()
        postgres.stop_leftovers(self._postgres_folder)
        for child in self._children().values():
            child.drain()

    def kill_dagster(self) -> None:
        """Let Dagster's processes die at once, for someone who does not want to wait for a stop."""
        for process in marked_processes(self._folder.path, "dagster"):
            process.kill()

    def _children(self) -> dict[str, Child]:
        parts = {"PostgreSQL": self.postgres, "NATS": self.nats, "Dagster": self.dagster}
        return {label: part.child for label, part in parts.items() if part is not None}

    @property
    def data_folder(self) -> Path:
        return self._folder.path

    @property
    def _env_path(self) -> Path:
        return self._project / ".env"

    @property
    def _postgres_folder(self) -> Path:
        return self._folder.path / "postgres"

    def _stop_leftovers(self) -> None:
        leftovers = marked_processes(self._folder.path)
        if leftovers:
            self._say(f"An earlier start was killed and left {len(leftovers)} processes running; stopping them.")
            stop_marked(self._folder.path, grace_seconds=_LEFTOVER_SECONDS)
        postgres.stop_leftovers(self._postgres_folder)

    def _start_postgres(self) -> None:
        self.postgres = retry_while_taken(
            lambda: start_postgres(
                self._postgres_folder,
                port=self._choose_port("postgres"),
                environ=marked_environ(self.environ, self._folder.path, "postgres"),
                sink=self._sink,
            )
        )
        for name in ("guestguard", "dagster"):
            self.postgres.ensure_database(name)
        self._say(f"PostgreSQL is up, on port {self.postgres.port}")
        self._offer(
            DATABASE_URL=self.postgres.url("guestguard"),
            DAGSTER_DATABASE_URL=self.postgres.url("dagster").replace("postgresql://", "postgresql+psycopg2://", 1),
        )

    def _start_nats(self) -> None:
        self.nats = retry_while_taken(
            lambda: start_nats(
                self._folder.path / "nats",
                port=self._choose_port("nats"),
                environ=marked_environ(self.environ, self._folder.path, "nats"),
                sink=self._sink,
            )
        )
        self._say(f"NATS is up, on port {self.nats.port}")
        self._offer(NATS_URL=self.nats.url)

    def _start_mail_catcher(self) -> None:
        self.mail = retry_while_taken(
            lambda: start_mail_catcher(
                self._folder.path / "mail", smtp_port=self._choose_port("smtp"), page_port=self._choose_port("mail")
            )
        )
        self._say(f"The mail catcher is up, on port {self.mail.page_port}")
        self._offer(SMTP_HOST=LOOPBACK, SMTP_PORT=str(self.mail.smtp_port), SMTP_TLS="none", SMTP_FROM_EMAIL=MAIL_FROM)

    def _start_dagster(self) -> DagsterDev:
        port = self._choose_port("dagster")
        self._offer(DAGSTER_URL=f"http://{LOOPBACK}:{port}")
        return start_dagster(self._project, self._folder.path, port=port, environ=self.environ, sink=self._sink)

    def _start_web(self, listener: socket.socket) -> None:
        settings = load_settings(environ=self.environ, env_file=Path(os.devnull))
        host_id: UUID | None = None
        # Whoever can read this terminal owns the data folder. Of a database elsewhere, nobody here is the owner.
        if self.plan.starts_postgres:
            with Database(self.environ["DATABASE_URL"], application_name="guestguard-up") as database:
                host_id = demo_host(database).id
        self.web = start_web(settings, listener, host_id=host_id)
        self._say(f"The web application is up, on port {self.web.port}")

    def _offer(self, **entries: str) -> None:
        """Settings that lead to the parts started here; what shell or `.env` gives stands."""
        missing = {name: value for name, value in entries.items() if name not in self.plan.environ}
        self.environ.update(missing)
        self._own_entries.update(missing)

    def _choose_port(self, what: str) -> int:
        """The requested port or a refusal; else the port of last time, the default, or a free one near it."""
        requested = self._requested_ports.get(what)
        if requested is not None:
            if not is_free(requested):
                raise PortTaken(requested, _LABELS[what])
            return requested
        remembered = self._folder.remembered("ports")
        last_time = remembered.get(what)
        wanted = last_time if isinstance(last_time, int) else DEFAULT_PORTS[what]
        port = free_port_from(wanted)
        if port != wanted:
            self._say(f"Port {wanted} is taken by another program; {_LABELS[what]} gets {port}, from now on.")
        self._folder.remember("ports", {**remembered, what: port})
        return port
