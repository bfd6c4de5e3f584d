"""Hosts, events and guests: who they are, who may see whom, and who is not to be written to.

What is written to them belongs to `messages`, `deliveries` and `notifications`.
"""
