"""Amazon SES's entry in the registry."""

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.senders.base import Mail, Sender
from guestguard_dagster.senders.provider import Provider, composer_for
from guestguard_dagster.senders.ses import callbacks
from guestguard_dagster.settings import Settings, SettingsInvalid


def _open_sender(settings: Settings) -> Sender[Mail]:
    composer = composer_for("SES_FROM_EMAIL", settings.ses_from_email, because="SES_REGION is set")
    try:
        from guestguard_dagster.senders.ses.sending import SesAccess, SesSender
    except ModuleNotFoundError as error:
        raise SettingsInvalid(
            f"SES_REGION is set, but the package {error.name} is missing; "
            "install the extra: pip install 'guestguard-dagster[ses]'"
        ) from None
    access = SesAccess(settings.ses_region or "", settings.ses_configuration_set, settings.ses_endpoint_url)
    return SesSender(access, composer)


SES = Provider(
    name="ses",
    channel=MessageChannel.EMAIL,
    chosen_by=("ses_region",),
    open_sender=_open_sender,
    from_name=lambda settings: settings.ses_from_name,
    read_callback=callbacks.read,
)
