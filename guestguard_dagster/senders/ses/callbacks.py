"""What SES publishes through SNS about a mail, as feedback notifications or as event publishing. No I/O.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from collections.abc import Mapping
from typing import Any

from guestguard_dagster.domain.callbacks import CallbackContent, read_tags
from guestguard_dagster.domain.deliveries import DeliveryReport, DeliveryStatus
from guestguard_dagster.domain.suppressions import SuppressionReason
from guestguard_dagster.senders.scrub import scrub

_HARD = "Permanent"


def read(event: Mapping[str, Any]) -> CallbackContent:
    """One event: the JSON inside SNS's Message. What is missing or of another shape counts as not said."""
    mail = _mapping(event.get("mail"))
    message_id = mail.get("messageId") if isinstance(mail.get("messageId"), str) else None
    suppress: str | None = None
    addresses: tuple[str, ...] = ()
    update: DeliveryReport | None = None
    match event.get("eventType") or event.get("notificationType"):
        case "Send":
            update = DeliveryReport(DeliveryStatus.SENT, provider_message_id=message_id)
        case "Delivery":
            update = DeliveryReport(DeliveryStatus.DELIVERED, provider_message_id=message_id)
        case "Complaint":
            complaint = _mapping(event.get("complaint"))
            addresses = _addresses(complaint.get("complainedRecipients"))
            # "not-spam" takes a complaint back.
            if complaint.get("complaintFeedbackType") != "not-spam":
                update = DeliveryReport(DeliveryStatus.COMPLAINED, reason="complaint", provider_message_id=message_id)
                suppress = SuppressionReason.COMPLAINT
        case "Bounce":
            bounce = _mapping(event.get("bounce"))
            recipients = bounce.get("bouncedRecipients")
            addresses = _addresses(recipients)
            is_hard = bounce.get("bounceType") == _HARD
            update = _bounced(bounce, recipients, message_id, addresses, "hard_bounce" if is_hard else "soft_bounce")
            suppress = SuppressionReason.HARD_BOUNCE if is_hard else None
        case "Reject":
            said = str(_mapping(event.get("reject")).get("reason", ""))
            update = DeliveryReport(
                DeliveryStatus.BOUNCED,
                reason="refused",
                provider_message_id=message_id,
                error_class="Reject",
                error_detail=scrub(said) or None,
            )
    return CallbackContent(update, *read_tags(_tags(mail.get("tags"))), message_id, suppress, addresses)


def _bounced(
    bounce: Mapping[str, Any], recipients: object, message_id: str | None, addresses: tuple[str, ...], reason: str
) -> DeliveryReport:
    first = _mapping(recipients[0]) if isinstance(recipients, list) and recipients else {}
    status = first.get("status")
    return DeliveryReport(
        DeliveryStatus.BOUNCED,
        reason=reason,
        provider_message_id=message_id,
        error_class="/".join(str(bounce[name]) for name in ("bounceType", "bounceSubType") if bounce.get(name)) or None,
        error_code=str(status) if status else None,
        error_detail=scrub(str(first.get("diagnosticCode", "")), addresses) or None,
    )


def _tags(tags: object) -> Mapping[str, Any]:
    """Event publishing carries tags as lists of values; feedback notifications carry none."""
    return {name: values[0] for name, values in _mapping(tags).items() if isinstance(values, list) and values}


def _addresses(recipients: object) -> tuple[str, ...]:
    listed = [_mapping(each).get("emailAddress") for each in recipients] if isinstance(recipients, list) else []
    return tuple(address for address in listed if isinstance(address, str) and address)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
