"""Where a scenario plays: one provider, a database of its own, and a message that is due."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.fragile_postgres import FragilePostgres
from guestguard_dagster_tests.crash.loopbacks import loopback
from guestguard_dagster_tests.crash.providers import Access, Provider
from guestguard_dagster_tests.crash.stage import Stage, due_messages
from guestguard_dagster_tests.crash.verdict import Verdict
from guestguard_dagster_tests.loopback.smtp_features import USUAL, SmtpFeatures

GUESTS = 120


@dataclass(frozen=True, slots=True)
class Scene:
    """One provider, and a database that only this scenario uses, on a server that it may kill."""

    provider: Provider
    database: Database
    postgres: FragilePostgres

    @contextmanager
    def stage(
        self,
        *,
        guests: Sequence[int] = (GUESTS,),
        patience: float = 60,
        connections: int = 4,
        features: SmtpFeatures = USUAL,
    ) -> Iterator[Stage]:
        """A message is due for each number of `guests`, the provider answers; `features` are an SMTP server's."""
        with loopback(self.provider, features=features) as server:
            access = Access(self.provider, server.port, patience, connections=connections, logs_in=True)
            ids = [
                message_id
                for number, count in enumerate(guests)
                for message_id in due_messages(self.database, guests=count, channel=self.provider.channel, first=number)
            ]
            yield Stage(self.database, server, access, tuple(ids))


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault, and how it strikes; `providers` are those that can have it."""

    fault: str
    how: str
    play: Callable[[Scene], Verdict]
    providers: tuple[Provider, ...] = tuple(Provider)
