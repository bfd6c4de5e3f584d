"""What every step of a send needs, opened once per process: repositories, senders and the run's identity."""

from dataclasses import dataclass
from datetime import timedelta

from guestguard_dagster.delivery.ledger import LedgerGuard
from guestguard_dagster.delivery.links import LinkMaker
from guestguard_dagster.delivery.pace import NORMAL_PACE, Pace
from guestguard_dagster.domain.deliveries import LEASE_TIME
from guestguard_dagster.senders.picker import Senders
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.audiences import AudienceRepo
from guestguard_dagster.storage.deliveries.batches import BatchRepo
from guestguard_dagster.storage.deliveries.interrupted import InterruptedRepo
from guestguard_dagster.storage.messages.contexts import ContextRepo
from guestguard_dagster.storage.messages.progress import ProgressRepo
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.run_requests import RunRequestRepo
from guestguard_dagster.storage.notifications.dead_letters import DeadLetterRepo
from guestguard_dagster.storage.notifications.repo import NotificationRepo
from guestguard_dagster.storage.operations.installation import InstallationRepo
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo
from guestguard_dagster.storage.providers.rates import RateRepo
from guestguard_dagster.streams.ledger import Ledger


@dataclass(frozen=True)
class SendContext:
    """`run_id` is written beside every batch; outside Dagster it is any name that says who sends.

    Use it as a context manager, or `close` it: for the ledger it may hold a connection to NATS. `lease_time` is how
    long a batch's hand-off may take before other processes may take the batch over.
    """

    database: Database
    senders: Senders
    links: LinkMaker
    run_id: str
    lease_time: timedelta
    pace: Pace
    run_requests: RunRequestRepo
    audiences: AudienceRepo
    batches: BatchRepo
    interrupted: InterruptedRepo
    breakers: BreakerRepo
    contexts: ContextRepo
    dead_letters: DeadLetterRepo
    installation: InstallationRepo
    ledger: Ledger
    ledger_guard: LedgerGuard
    messages: MessageRepo
    notifications: NotificationRepo
    progress: ProgressRepo
    rates: RateRepo
    runs: RunRepo
    suppressions: SuppressionRepo

    @classmethod
    def open(
        cls,
        database: Database,
        senders: Senders,
        settings: Settings,
        *,
        run_id: str,
        lease_time: timedelta = LEASE_TIME,
        pace: Pace = NORMAL_PACE,
    ) -> "SendContext":
        ledger = Ledger.from_settings(settings)
        return cls(
            database=database,
            senders=senders,
            links=LinkMaker.from_settings(settings),
            run_id=run_id,
            lease_time=lease_time,
            pace=pace,
            run_requests=RunRequestRepo(database),
            audiences=AudienceRepo(database),
            batches=BatchRepo(database),
            interrupted=InterruptedRepo(database),
            breakers=BreakerRepo(database),
            contexts=ContextRepo(database),
            dead_letters=DeadLetterRepo(database),
            installation=InstallationRepo(database),
            ledger=ledger,
            ledger_guard=LedgerGuard(database, ledger),
            messages=MessageRepo(database),
            notifications=NotificationRepo(database),
            progress=ProgressRepo(database),
            rates=RateRepo(database),
            runs=RunRepo(database),
            suppressions=SuppressionRepo(database),
        )

    def close(self) -> None:
        """Closes what it opened itself: database and senders belong to the caller."""
        self.ledger.close()

    def __enter__(self) -> "SendContext":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
