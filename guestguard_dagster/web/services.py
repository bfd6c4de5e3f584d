"""What every request needs, opened once per process: settings, repositories, senders."""

from dataclasses import dataclass
from uuid import UUID

from fastapi import Request

from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.outbox.publishing import Publisher
from guestguard_dagster.senders.picker import Senders, pick_senders
from guestguard_dagster.senders.ses.sns import SnsTopic
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.delivery_log import DeliveryLogRepo
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.notifications.repo import NotificationRepo
from guestguard_dagster.storage.operations.idempotency import IdempotencyRepo
from guestguard_dagster.storage.operations.installation import InstallationRepo
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster.storage.people.access import AccessRepo
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster.storage.people.rsvps import RsvpRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster.storage.people.users import UserRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo
from guestguard_dagster.storage.providers.callbacks import CallbackRepo
from guestguard_dagster.storage.providers.rates import RateRepo
from guestguard_dagster.web.auth import BearerTokens, Sessions


@dataclass(frozen=True)
class LocalSignIn:
    """`guestguard up` signs its user in: whoever opens the link with this key is the demo's host."""

    user_id: UUID
    key: str


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    senders: Senders
    bearer: BearerTokens
    sessions: Sessions
    local_sign_in: LocalSignIn | None
    access: AccessRepo
    breakers: BreakerRepo
    callbacks: CallbackRepo
    events: EventRepo
    delivery_log: DeliveryLogRepo
    guests: GuestRepo
    idempotency: IdempotencyRepo
    installation: InstallationRepo
    messages: MessageRepo
    notifications: NotificationRepo
    publisher: Publisher
    rates: RateRepo
    rsvps: RsvpRepo
    runs: RunRepo
    sns: SnsTopic | None
    suppressions: SuppressionRepo
    users: UserRepo

    @classmethod
    def open(cls, settings: Settings, database: Database, local_sign_in: LocalSignIn | None) -> "Services":
        """Raises SettingsInvalid for a provider or a token issuer that is configured by half."""
        return cls(
            settings=settings,
            database=database,
            senders=pick_senders(settings),
            bearer=BearerTokens.from_settings(settings),
            sessions=Sessions.from_settings(settings),
            local_sign_in=local_sign_in,
            access=AccessRepo(database),
            breakers=BreakerRepo(database),
            callbacks=CallbackRepo(database),
            events=EventRepo(database),
            delivery_log=DeliveryLogRepo(database),
            guests=GuestRepo(database),
            idempotency=IdempotencyRepo(database),
            installation=InstallationRepo(database),
            messages=MessageRepo(database),
            notifications=NotificationRepo(database),
            publisher=Publisher(database, settings, declare_stream(settings)),
            rates=RateRepo(database),
            rsvps=RsvpRepo(database, CONFIRMATION.type),
            runs=RunRepo(database),
            sns=SnsTopic(settings.ses_sns_topic_arn) if settings.ses_sns_topic_arn else None,
            suppressions=SuppressionRepo(database),
            users=UserRepo(database),
        )

    def close(self) -> None:
        self.publisher.stop()
        self.senders.close()
        self.database.close()


def services_of(request: Request) -> Services:
    """The services of the application that answers this request."""
    services: Services = request.app.state.services
    return services
