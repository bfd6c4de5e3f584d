"""A stage: messages that are due, a provider on loopback, and workers that send the ones through the other."""

from dataclasses import dataclass, replace
from itertools import count
from uuid import UUID

from sqlalchemy import text

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.gates import Stop
from guestguard_dagster_tests.crash.loopbacks import Loopback
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out, let_waits_pass
from guestguard_dagster_tests.crash.poison import Poison
from guestguard_dagster_tests.crash.providers import Access
from guestguard_dagster_tests.crash.verdict import Verdict, judge
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.crash.worker import Ending, Order, Worker
from guestguard_dagster_tests.factories import make_event, make_guests, make_message

_MOST_RUNS = 20
_run_numbers = count(1)

_PHONES = """
    UPDATE guests g SET phone = '+49151' || :message || lpad(n.number::text, 6, '0')
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM guests WHERE event_id = :event) n
    WHERE g.id = n.id
"""


@dataclass(frozen=True, slots=True)
class Stage:
    database: Database
    server: Loopback
    access: Access
    message_ids: tuple[UUID, ...]
    # where the ledger is kept, if it is
    nats_url: str | None = None

    def start_worker(
        self, *, stop: Stop | None = None, lease_seconds: float = 60, poison: Poison | None = None
    ) -> Worker:
        """One more run for all messages."""
        return start_worker(
            self.database,
            self.access,
            self.message_ids,
            stop=stop,
            lease_seconds=lease_seconds,
            nats_url=self.nats_url,
            poison=poison,
        )

    def settle(self) -> None:
        """Run after run, as the sensor would ask for them, until nothing is left to do; nobody waits for real."""
        for _ in range(_MOST_RUNS):
            let_leases_run_out(self.database)
            self.run_hastily()
            if not self.judge().unsettled:
                return
        raise AssertionError(f"after {_MOST_RUNS} runs: {self.judge()}")

    def run_hastily(self, *, poison: Poison | None = None) -> None:
        """One run to its end; what it waits for comes at once."""
        with self.start_worker(poison=poison) as worker:
            ending = self.see_off(worker)
        if ending is not Ending.DONE:
            raise AssertionError(f"an undisturbed run ended as {ending.name}")

    def see_off(self, worker: Worker) -> Ending:
        """Let the run come to its end; what it waits for comes at once."""
        return see_off(self.database, worker)

    def judge(self) -> Verdict:
        return judge(self.database, self.message_ids, self.server.recipients())

    def guest_ids(self, message_id: UUID) -> list[UUID]:
        """The guests of this message, in the order of their addresses."""
        with self.database.transaction() as connection:
            return list(
                connection.execute(
                    text(
                        "SELECT g.id FROM guests g JOIN scheduled_messages m USING (event_id) "
                        "WHERE m.id = :id ORDER BY g.email"
                    ),
                    {"id": message_id},
                ).scalars()
            )

    def addresses(self, message_id: UUID) -> set[str]:
        """Where this message's guests are written to, each at an address of their own."""
        with self.database.transaction() as connection:
            return set(
                connection.execute(
                    text(
                        "SELECT CASE m.channel WHEN 'sms' THEN g.phone ELSE g.email END FROM guests g "
                        "JOIN scheduled_messages m USING (event_id) WHERE m.id = :id"
                    ),
                    {"id": message_id},
                ).scalars()
            )

    def mails(self) -> int:
        return self.server.recipients().total()

    def on(self, database: Database) -> "Stage":
        """The same messages, in another database."""
        return replace(self, database=database)

    def with_access(self, access: Access) -> "Stage":
        """The same messages, sent another way."""
        return replace(self, access=access)


def see_off(database: Database, worker: Worker) -> Ending:
    """Let a run come to its end; what it waits for comes at once."""

    def has_ended() -> bool:
        let_waits_pass(database)
        return not worker.is_running

    wait_until(has_ended, "the run ends", every_seconds=0.03)
    return worker.wait()


def start_worker(
    database: Database,
    access: Access,
    message_ids: tuple[UUID, ...],
    *,
    stop: Stop | None = None,
    lease_seconds: float = 60,
    nats_url: str | None = None,
    poison: Poison | None = None,
) -> Worker:
    return Worker(
        Order(
            database_url=database.engine.url.render_as_string(hide_password=False),
            access=access,
            message_ids=message_ids,
            run_id=f"run-{next(_run_numbers)}",
            lease_seconds=lease_seconds,
            stop=stop,
            nats_url=nats_url,
            poison=poison,
        )
    )


def due_messages(
    database: Database,
    *,
    guests: int,
    messages: int = 1,
    channel: MessageChannel = MessageChannel.EMAIL,
    first: int = 0,
) -> tuple[UUID, ...]:
    """Messages that are due, each of an event of its own, with so many guests each; phone numbers count from `first`
    messages."""
    ids: list[UUID] = []
    for _ in range(messages):
        event = make_event(database)
        make_guests(database, event, guests)
        if channel is MessageChannel.SMS:
            with database.transaction() as connection:
                connection.execute(text(_PHONES), {"event": event.id, "message": f"{first + len(ids):02}"})
        ids.append(make_message(database, event, channel=channel).id)
    return tuple(ids)
