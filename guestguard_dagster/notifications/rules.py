"""What operators set about events: when one is given up, and which scores are worth an alert."""

from dataclasses import dataclass

from guestguard_dagster.settings import Settings


@dataclass(frozen=True, slots=True)
class Rules:
    """After `max_deliveries`, an event that cannot be used is a dead letter; scores below `alert_from_score` are not
    worth an alert."""

    max_deliveries: int
    alert_from_score: float

    @classmethod
    def from_settings(cls, settings: Settings) -> "Rules":
        return cls(settings.nats_max_deliveries, settings.fraud_alert_from_score)
