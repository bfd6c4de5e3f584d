"""The send job's steps without Dagster, in their order."""

from collections.abc import Sequence
from threading import Event
from uuid import UUID

from guestguard_dagster.delivery.audience import load_recipients
from guestguard_dagster.delivery.claiming import claim
from guestguard_dagster.delivery.dispatching import DispatchReport, dispatch
from guestguard_dagster.delivery.finishing import mark_sent, record_deliveries
from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.delivery.preflight import preflight


def prepare(room: Mailroom, message_ids: Sequence[UUID]) -> None:
    """Everything before the first hand-off."""
    claim(room, message_ids, Event())
    load_recipients(room, message_ids)
    preflight(room, message_ids)


def send(room: Mailroom, message_ids: Sequence[UUID]) -> DispatchReport:
    """Everything that a run does; returns what dispatch reported."""
    prepare(room, message_ids)
    report = dispatch(room, message_ids, Event())
    record_deliveries(room, message_ids)
    mark_sent(room, message_ids)
    return report
