"""JetStream: the one place that talks to NATS. Its asyncio stays inside; outside, every call is a plain function.

What an event means, and what is written down because of it, belongs to `notifications` and `callbacks`.
"""
