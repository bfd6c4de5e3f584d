"""Alerts to a webhook: one POST of JSON with everything that is new."""

import time
from collections.abc import Sequence

from guestguard_dagster.storage.operations.alerts import Alert

_TRIES = 3
_TIMEOUT_SECONDS = 10
_PAUSE_SECONDS = 2.0


class WebhookRefused(Exception):
    """The webhook did not take the alerts. The text never carries its address, which may hold a secret."""


def post_alerts(url: str, alerts: Sequence[Alert]) -> None:
    """Tell the webhook, with some patience. Raises WebhookRefused."""
    # Most processes never need it, and it takes long to import.
    import requests

    body = {
        "service": "guestguard",
        "text": "; ".join(alert.title for alert in alerts),
        "alerts": [
            {
                "id": str(alert.id),
                "subject": alert.subject,
                "title": alert.title,
                "detail": alert.detail,
                "link": alert.link,
                "since": alert.opened_at.isoformat(),
            }
            for alert in alerts
        ],
    }
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        try:
            answer = requests.post(url, json=body, timeout=_TIMEOUT_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            problem = type(error).__name__
            continue
        if answer.ok:
            return
        problem = f"HTTP {answer.status_code}"
    raise WebhookRefused(f"the webhook that ALERT_WEBHOOK_URL names did not take {len(alerts)} alerts: {problem}")
