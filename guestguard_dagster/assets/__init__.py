"""Dagster assets: the tables that statistics come from, statistics, and reports. `ASSETS` has all of them.

They call plain Python and show the result as metadata. How something is counted belongs to `storage.statistics`, what
a report says to `reporting`, and the checks to `checks`.
"""

from dagster import AssetsDefinition, AssetSpec

from guestguard_dagster.assets import delivery_stats, reports, sources

ASSETS: tuple[AssetsDefinition | AssetSpec, ...] = (
    *sources.SOURCES,
    sources.PROMISES,
    *delivery_stats.STATISTICS,
    *reports.REPORTS,
)
