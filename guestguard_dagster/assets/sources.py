"""The tables that statistics come from: filled by the engine, so external here. `sensors.delivery_changes` reports the
days on which they changed."""

from dagster import AssetKey, AssetSpec

from guestguard_dagster.partitions import DAYS
from guestguard_dagster.storage.statistics.changes import Source

_DESCRIPTIONS = {
    Source.MESSAGES: "What hosts schedule and every event reminds of, by the day of its send_at.",
    Source.DELIVERIES: "One row per message, guest and channel, by the day on which its message was due.",
    Source.NOTIFICATIONS: "Mail that answers to an event on NATS, by the day on which it was written down.",
    Source.ATTEMPTS: "Every hand-off to a provider with its answer, by the day on which it was made.",
}


def source_key(source: Source) -> AssetKey:
    return AssetKey(source.value)


SOURCES = [
    AssetSpec(
        source_key(source),
        description=f"{description} The engine writes it; each entry here says which day changed.",
        group_name="sources",
        kinds={"postgres", "table"},
        partitions_def=DAYS,
    )
    for source, description in _DESCRIPTIONS.items()
]

# No table: where the checks of all of them are found on one page. Hung on a source, a check would count as outdated
# with every change that is reported there.
PROMISES = AssetSpec(
    "delivery_promises",
    description="What this service promises of its rows, whatever happens: see the checks.",
    deps=[source_key(source) for source in Source],
    group_name="promises",
)
