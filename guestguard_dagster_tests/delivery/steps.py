"""The send job's steps without Dagster, in their order."""

from collections.abc import Sequence
from threading import Event
from uuid import UUID

from guestguard_dagster.delivery.claim import claim
from guestguard_dagster.delivery.dispatch import DispatchReport, dispatch
from guestguard_dagster.delivery.load_recipients import load_recipients
from guestguard_dagster.delivery.mark_sent import mark_sent
from guestguard_dagster.delivery.record_deliveries import record_deliveries
from guestguard_dagster.delivery.render import render
from guestguard_dagster.delivery.send_context import SendContext


def prepare(sending: SendContext, message_ids: Sequence[UUID]) -> None:
    """Everything before the first hand-off."""
    claim(sending, message_ids, Event())
    load_recipients(sending, message_ids)
    render(sending, message_ids)


def send(sending: SendContext, message_ids: Sequence[UUID]) -> DispatchReport:
    """Everything that a run does; returns what dispatch reported."""
    prepare(sending, message_ids)
    report = dispatch(sending, message_ids, Event())
    record_deliveries(sending, message_ids)
    mark_sent(sending, message_ids)
    return report
