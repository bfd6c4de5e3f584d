"""Dagster resources: what ops, sensors and assets are given. Each wraps one thing that plain Python provides."""
