"""What can be refused, each as its own exception: what happened, to which id, and what to do next."""

from uuid import UUID

from guestguard_dagster.domain.messages import HoldOwner, MessageKind, MessageStatus


class NotFound(LookupError):
    """A row that was asked for by its id does not exist."""

    def __init__(self, noun: str, key: object) -> None:
        super().__init__(f"{noun} {key} does not exist; check the id, it may have been deleted")
        self.key = key


class UserNotFound(NotFound):
    def __init__(self, user_id: UUID) -> None:
        super().__init__("user", user_id)


class EventNotFound(NotFound):
    def __init__(self, event_id: UUID) -> None:
        super().__init__("event", event_id)


class GuestNotFound(NotFound):
    def __init__(self, guest_id: UUID) -> None:
        super().__init__("guest", guest_id)


class MessageNotFound(NotFound):
    def __init__(self, message_id: UUID) -> None:
        super().__init__("message", message_id)


class DeliveryNotFound(NotFound):
    def __init__(self, delivery_id: int) -> None:
        super().__init__("delivery", delivery_id)


class CollaboratorNotFound(NotFound):
    def __init__(self, event_id: UUID, user_id: UUID) -> None:
        super().__init__(f"on event {event_id}, the collaborator", user_id)


class Refused(Exception):
    """The row exists, and its state does not allow what was asked."""


class EventCancelled(Refused):
    def __init__(self, event_id: UUID) -> None:
        super().__init__(f"event {event_id} is cancelled; nothing more can be changed or sent for it")
        self.event_id = event_id


class MessageNotEditable(Refused):
    def __init__(self, message_id: UUID, status: MessageStatus) -> None:
        super().__init__(
            f"message {message_id} is {status}; only a draft or scheduled message can be changed, so write a new one"
        )
        self.message_id = message_id
        self.status = status


class MessageNotHoldable(Refused):
    def __init__(self, message_id: UUID, status: MessageStatus) -> None:
        super().__init__(
            f"message {message_id} is {status}; only a scheduled or sending message can be held or resumed"
        )
        self.message_id = message_id
        self.status = status


class MessageNotRetryable(Refused):
    def __init__(self, message_id: UUID, status: MessageStatus) -> None:
        super().__init__(
            f"message {message_id} is {status}; failed recipients can be tried again only once it has been sent"
        )
        self.message_id = message_id
        self.status = status


class MessageTooLate(Refused):
    def __init__(self, message_id: UUID, why: str) -> None:
        super().__init__(
            f"message {message_id} cannot be tried again: {why}, so nothing of it would leave; write a new one"
        )
        self.message_id = message_id


class MessageHeld(Refused):
    def __init__(self, message_id: UUID, by: HoldOwner | None, reason: str | None) -> None:
        owner = {HoldOwner.RUN: "a terminated run", HoldOwner.OPERATOR: "an operator"}.get(
            by or HoldOwner.HOST, "a host"
        )
        super().__init__(
            f"message {message_id} is on hold by {owner} ({reason or 'no reason given'}); resume it first, then send it"
        )
        self.message_id = message_id


class SendTimeMissing(Refused):
    def __init__(self, message_id: UUID) -> None:
        super().__init__(f"message {message_id} has no send_at; give one together with the change to scheduled")
        self.message_id = message_id


class StaleVersion(Refused):
    def __init__(self, message_id: UUID, expected: int, actual: int) -> None:
        super().__init__(
            f"message {message_id} is at version {actual}, not {expected}: somebody changed it meanwhile; "
            "load it again and repeat the change"
        )
        self.message_id = message_id
        self.expected = expected
        self.actual = actual


class StaleEvent(Refused):
    def __init__(self, event_id: UUID) -> None:
        super().__init__(
            f"event {event_id} is not as it was: somebody changed it meanwhile; load it again and repeat the change"
        )
        self.event_id = event_id


class OwnerStays(Refused):
    def __init__(self, event_id: UUID) -> None:
        super().__init__(f"the owner of event {event_id} stays its owner; change the role of somebody else")
        self.event_id = event_id


class ReminderExists(Refused):
    def __init__(self, event_id: UUID, kind: MessageKind) -> None:
        super().__init__(f"event {event_id} already has its {kind.label}; change that one instead of adding another")
        self.event_id = event_id
        self.kind = kind
