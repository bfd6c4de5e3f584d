"""Dagster assets: statistics and reports. They call plain Python, and show what came of it as metadata."""
