"""Dagster sensors. Ticks only look and ask: no sending, no provider calls."""
