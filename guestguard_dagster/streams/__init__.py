"""JetStream: the one place that talks to NATS. Its asyncio stays inside; outside, every call is a plain function."""
