"""Whether this service does its work, and what operators do about it: health, metrics, alerts, ledger replay.

What is sent to guests belongs to `delivery`; the checks on its rows are asked in `storage.operations`.
"""
