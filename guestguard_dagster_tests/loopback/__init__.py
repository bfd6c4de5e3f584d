"""Providers on loopback: small real servers that answer as the real ones document it, and misbehave when told to.

Each can be started by hand, e.g. `python -m guestguard_dagster_tests.loopback.smtp --port 2525 --control-port 2526`.
"""
