"""What operators are mailed when something is wrong: all that is new, in one mail."""

from collections.abc import Iterable, Sequence

from guestguard_dagster.domain.system_mail import SystemMail, SystemMailKind
from guestguard_dagster.reporting.document import Document, Section
from guestguard_dagster.storage.operations.alerts import Alert

_SUBJECT_LENGTH = 150


def alert_mails(alerts: Sequence[Alert], addresses: Iterable[str]) -> list[SystemMail]:
    """One mail to each address about these alerts, of which there is at least one."""
    first, *others = alerts
    more = f", and {len(others)} more" if others else ""
    document = Document(
        title="Something needs you" if not others else f"{len(alerts)} things need you",
        period=f"since {first.opened_at:%d %b %Y, %H:%M} UTC",
        lead=f"{first.title}{more}.",
        sections=[Section(alert.title, text=_described(alert)) for alert in alerts],
        footer="Each is told once, when it begins. docs/operations.md says what to do about it.",
    )
    subject = f"GuestGuard: {first.title}{more}"[:_SUBJECT_LENGTH]
    occasion = f"alerts from {first.id}"
    return [
        SystemMail(
            SystemMailKind.ALERT,
            occasion,
            address,
            "",
            subject,
            document.mail_text(link=None),
            document.mail_html(link=None),
        )
        for address in addresses
    ]


def _described(alert: Alert) -> str:
    return f"{alert.detail} {alert.link}" if alert.link else alert.detail
