"""Deliveries and their batches: whom a message reaches, what became of each, and what is tried again."""
