"""Twilio's entry in the registry."""

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.senders.base import Sender, Text
from guestguard_dagster.senders.provider import Provider
from guestguard_dagster.senders.twilio import callbacks
from guestguard_dagster.settings import Settings, SettingsInvalid


def _open_sender(settings: Settings) -> Sender[Text]:
    from guestguard_dagster.senders.twilio.sending import TwilioAccess, TwilioSender

    number = settings.twilio_from_number
    if number is not None and number.startswith("+") and to_e164(number, None) != number:
        raise SettingsInvalid("TWILIO_FROM_NUMBER is not a phone number; write it like +15005550006, without spaces")
    access = TwilioAccess(
        account_sid=settings.twilio_account_sid or "",
        auth_token=settings.twilio_auth_token.get_secret_value() if settings.twilio_auth_token else "",
        from_number=number,
        messaging_service_sid=settings.twilio_messaging_service_sid,
        callback_base_url=settings.public_base_url,
        base_url=settings.twilio_base_url,
    )
    return TwilioSender(access, messages_per_second=settings.twilio_messages_per_second)


TWILIO = Provider(
    name="twilio",
    channel=MessageChannel.SMS,
    chosen_by=("twilio_account_sid", "twilio_auth_token", ("twilio_from_number", "twilio_messaging_service_sid")),
    open_sender=_open_sender,
    sending_number=lambda settings: settings.twilio_from_number,
    read_callback=callbacks.read,
)
