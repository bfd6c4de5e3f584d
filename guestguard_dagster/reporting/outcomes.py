"""How outcomes of deliveries are shown: in one order, each in its colour, from the best to the worst."""

from collections.abc import Mapping, Sequence

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.reporting.charts import Series
from guestguard_dagster.storage.statistics.reading import Outcomes

COLOURS: Mapping[DeliveryStatus, str] = {
    DeliveryStatus.DELIVERED: "#2e8b57",
    DeliveryStatus.SENT: "#8fc7ae",
    DeliveryStatus.SENDING: "#7f9fc6",
    DeliveryStatus.PENDING: "#c9d6e8",
    DeliveryStatus.SKIPPED: "#dcd9e3",
    DeliveryStatus.SUPPRESSED: "#aaa5b8",
    DeliveryStatus.UNKNOWN: "#8e6bbf",
    DeliveryStatus.BOUNCED: "#e08e45",
    DeliveryStatus.COMPLAINED: "#a3305f",
    DeliveryStatus.FAILED: "#c0392b",
}


def outcome_series(counted: Sequence[Outcomes]) -> list[Series]:
    """One series per outcome, with a value for each of `counted`."""
    return [
        Series(status.value, colour, [outcomes.get(status, 0) for outcomes in counted])
        for status, colour in COLOURS.items()
    ]
