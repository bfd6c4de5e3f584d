"""This database beside its ledger in JetStream: where it stands, and what a replay writes.

The stream itself belongs to `streams.ledger`.
"""
