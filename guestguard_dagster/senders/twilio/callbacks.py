"""What Twilio posts about a text (https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks),
and what guests write back. No I/O."""

from collections.abc import Mapping

from guestguard_dagster.domain.callbacks import CallbackContent, OptKeyword, read_tags
from guestguard_dagster.domain.deliveries import DeliveryReport, DeliveryStatus
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.domain.suppressions import SuppressionReason

CALLBACK_PATH = "/webhooks/twilio"

_STOPS = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"})
_STARTS = frozenset({"start", "yes", "unstop"})
# Nobody can be reached there, ever: an unknown number, a landline.
_DEAD_NUMBER = frozenset({"30005", "30006"})
_STATUSES: Mapping[str, DeliveryStatus] = {
    "sent": DeliveryStatus.SENT,
    "delivered": DeliveryStatus.DELIVERED,
    "read": DeliveryStatus.DELIVERED,
    "undelivered": DeliveryStatus.BOUNCED,
    "failed": DeliveryStatus.BOUNCED,
}


def callback_key(fields: Mapping[str, str]) -> str | None:
    """What is the same for every repeat of one callback: Twilio gives them no id of their own. None: not a callback."""
    sid = fields.get("MessageSid") or fields.get("SmsSid")
    status = fields.get("MessageStatus") or fields.get("SmsStatus")
    return f"{sid}:{status}:{fields.get('ErrorCode', '')}" if sid and status else None


def is_from_guest(fields: Mapping[str, str]) -> bool:
    return "Body" in fields and fields.get("SmsStatus", "received") == "received"


def read(fields: Mapping[str, str]) -> CallbackContent:
    """One callback's form fields, with the tags from its address among them."""
    if is_from_guest(fields):
        return CallbackContent(keyword=_keyword(fields))
    sid = fields.get("MessageSid") or fields.get("SmsSid")
    status = _STATUSES.get(fields.get("MessageStatus") or fields.get("SmsStatus") or "")
    code = fields.get("ErrorCode") or None
    is_dead = status is DeliveryStatus.BOUNCED and code in _DEAD_NUMBER
    update = None
    if status is not None:
        bounced = status is DeliveryStatus.BOUNCED
        update = DeliveryReport(
            status,
            reason=("hard_bounce" if is_dead else fields.get("MessageStatus", "failed")) if bounced else None,
            provider_message_id=sid,
            error_class="TwilioStatus" if bounced else None,
            error_code=code if bounced else None,
        )
    to = fields.get("To", "")
    return CallbackContent(
        update,
        *read_tags(fields),
        sid,
        SuppressionReason.HARD_BOUNCE if is_dead else None,
        (to,) if is_dead and to else (),
    )


def _keyword(fields: Mapping[str, str]) -> OptKeyword | None:
    """STOP or START: as Twilio's own opt-out management says, else by the words that it takes for them."""
    said = fields.get("OptOutType", "").lower() or fields.get("Body", "").strip().strip(".!\"'").casefold()
    from_phone, to_phone = to_e164(fields.get("From", ""), None), to_e164(fields.get("To", ""), None)
    if from_phone is None or to_phone is None or said not in _STOPS | _STARTS:
        return None
    return OptKeyword(from_phone, to_phone, stops=said in _STOPS)
