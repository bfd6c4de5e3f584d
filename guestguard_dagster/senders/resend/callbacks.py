"""What Resend's webhook events mean (https://resend.com/docs/webhooks/event-types). No I/O."""

from collections.abc import Mapping
from typing import Any

from guestguard_dagster.domain.callbacks import CallbackContent, read_tags
from guestguard_dagster.domain.deliveries import DeliveryReport, DeliveryStatus
from guestguard_dagster.domain.suppressions import SuppressionReason
from guestguard_dagster.senders.scrub import scrub

_HARD = "permanent"


def read(event: Mapping[str, Any]) -> CallbackContent:
    """One event, as Resend posts it. What is missing or of another shape counts as not said."""
    data = event.get("data")
    if not isinstance(data, Mapping):
        return CallbackContent()
    kind = event.get("type")
    email_id = data.get("email_id")
    message_id = email_id if isinstance(email_id, str) else None
    addresses = _addresses(data.get("to"))
    suppress: str | None = None
    update: DeliveryReport | None = None
    match kind:
        case "email.sent":
            update = DeliveryReport(DeliveryStatus.SENT, provider_message_id=message_id)
        case "email.delivered":
            update = DeliveryReport(DeliveryStatus.DELIVERED, provider_message_id=message_id)
        case "email.complained":
            update = DeliveryReport(DeliveryStatus.COMPLAINED, reason="complaint", provider_message_id=message_id)
            suppress = SuppressionReason.COMPLAINT
        case "email.bounced":
            bounce = _mapping(data.get("bounce"))
            is_hard = str(bounce.get("type", "")).lower() == _HARD
            update = _bounced("hard_bounce" if is_hard else "soft_bounce", bounce, message_id, addresses)
            suppress = SuppressionReason.HARD_BOUNCE if is_hard else None
        case "email.failed":
            update = _bounced("refused", _mapping(data.get("failed")), message_id, addresses)
        case "email.suppressed":
            update = _bounced("suppressed_by_provider", _mapping(data.get("suppressed")), message_id, addresses)
    return CallbackContent(update, *read_tags(_tags(data.get("tags"))), message_id, suppress, addresses)


def _bounced(
    reason: str, details: Mapping[str, Any], message_id: str | None, addresses: tuple[str, ...]
) -> DeliveryReport:
    said = details.get("message") or details.get("reason") or ""
    kind = "/".join(str(details[name]) for name in ("type", "subType") if details.get(name))
    return DeliveryReport(
        DeliveryStatus.BOUNCED,
        reason=reason,
        provider_message_id=message_id,
        error_class=kind or None,
        error_detail=scrub(str(said), addresses) or None,
    )


def _tags(tags: object) -> Mapping[str, Any]:
    """Tags come as an object, and in some events as a list of names and values."""
    if isinstance(tags, list):
        pairs = [(tag.get("name"), tag.get("value")) for tag in tags if isinstance(tag, Mapping)]
        return {name: value for name, value in pairs if isinstance(name, str)}
    return _mapping(tags)


def _addresses(to: object) -> tuple[str, ...]:
    listed = [to] if isinstance(to, str) else to if isinstance(to, list) else []
    return tuple(address for address in listed if isinstance(address, str) and address)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
