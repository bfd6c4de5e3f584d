"""Dagster jobs. Ops are thin: they call the engine, and report what it did as metadata."""
