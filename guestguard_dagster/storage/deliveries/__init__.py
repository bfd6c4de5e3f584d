"""Deliveries and their batches: whom a message reaches, what became of each, and what is tried again.

When a message itself moves belongs to `messages`, and how many were delivered on a day to `statistics`.
"""
