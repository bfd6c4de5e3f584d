"""The types of notifications, in one ordered list: what a new module of `notifications.types` is entered into."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.notifications.definition import NotificationDefinition, Recipient
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.notifications.types.fraud_alert import FRAUD_ALERT
from guestguard_dagster.notifications.types.invitation import INVITATION
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.operations.checks import NotificationRecipients
from guestguard_dagster.streams.declaration import ConsumerDeclaration, StreamDeclaration

DEFINITIONS: Final[tuple[NotificationDefinition[Any], ...]] = (CONFIRMATION, FRAUD_ALERT, INVITATION)


def _types(condition: Callable[[NotificationDefinition[Any]], bool] = lambda _: True) -> tuple[NotificationType, ...]:
    return tuple(definition.type for definition in DEFINITIONS if condition(definition))


TYPES: Final = _types()
LABELS: Final[Mapping[str, str]] = {definition.type: definition.label for definition in DEFINITIONS}

# for the check that nobody suppressed was written to
RECIPIENTS: Final = NotificationRecipients(
    to_host=_types(lambda definition: definition.recipient is Recipient.HOST),
    to_given_address=_types(lambda definition: definition.recipient is Recipient.INVITED_GUEST),
    unsubscribed_spared=_types(lambda definition: not definition.follows_unsubscribe),
)

_BY_TYPE: Final = {definition.type: definition for definition in DEFINITIONS}


def definition_of(kind: NotificationType) -> NotificationDefinition[Any]:
    return _BY_TYPE[kind]


def declare_stream(settings: Settings) -> StreamDeclaration:
    """The stream of what is answered by mail: one consumer for each type."""
    consumers: dict[str, ConsumerDeclaration] = {each.type: each.consumer(settings) for each in DEFINITIONS}
    return StreamDeclaration(settings.nats_stream, consumers)
