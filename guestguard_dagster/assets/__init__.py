"""Dagster assets: statistics and reports. They call plain Python, and show what came of it as metadata."""

import warnings

from dagster import BetaWarning

# Said once for each asset at every load. A backfill in one run is what we chose; the pinned minor version keeps it.
warnings.filterwarnings("ignore", category=BetaWarning, message="Parameter `backfill_policy`")
