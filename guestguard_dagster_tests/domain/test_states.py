import pytest

from guestguard_dagster.domain.deliveries import HANDED_OFF_STATUSES, DeliveryStatus
from guestguard_dagster.domain.messages import EDITABLE_STATUSES, MessageStatus


def moves(status: MessageStatus) -> set[MessageStatus]:
    return {target for target in MessageStatus if status.can_become(target)}


def test_a_message_moves_only_forward_but_for_explicit_retries_and_re_armed_reminders() -> None:
    assert {status: moves(status) for status in MessageStatus} == {
        MessageStatus.DRAFT: {MessageStatus.SCHEDULED, MessageStatus.CANCELLED},
        MessageStatus.SCHEDULED: {MessageStatus.DRAFT, MessageStatus.SENDING, MessageStatus.CANCELLED},
        MessageStatus.SENDING: {MessageStatus.SENT, MessageStatus.FAILED},
        MessageStatus.SENT: {MessageStatus.SENDING},
        MessageStatus.CANCELLED: {MessageStatus.SCHEDULED},
        MessageStatus.FAILED: {MessageStatus.SENDING},
    }


def test_only_what_has_not_begun_to_leave_can_be_edited_or_cancelled() -> None:
    assert {status for status in MessageStatus if status.can_become(MessageStatus.CANCELLED)} == EDITABLE_STATUSES


@pytest.mark.parametrize("status", sorted(HANDED_OFF_STATUSES))
def test_what_was_handed_off_never_becomes_unsent_again(status: DeliveryStatus) -> None:
    reachable, frontier = {status}, [status]
    while frontier:
        current = frontier.pop()
        following = {target for target in DeliveryStatus if current.can_become(target)} - reachable
        reachable |= following
        frontier += following
    assert reachable <= HANDED_OFF_STATUSES


def test_a_row_is_settled_unless_it_waits_or_is_on_its_way() -> None:
    assert {status for status in DeliveryStatus if not status.is_settled} == {
        DeliveryStatus.PENDING,
        DeliveryStatus.SENDING,
    }
