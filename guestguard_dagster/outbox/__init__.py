"""What happened on the web, published on NATS once it is committed.

What comes in from NATS belongs to `notifications`, and the connection to `streams`.
"""
