"""Everything that runs GuestGuard on one machine: PostgreSQL, NATS, a mail catcher, and the demo.

Nothing here is used in production: no other room imports it.
"""
