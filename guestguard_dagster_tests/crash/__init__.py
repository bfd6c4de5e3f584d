"""The plug is pulled: workers are killed, frozen and stopped, providers and the database go away in the middle of it.

Here are the worker that real signals are sent to, the points at which it can be caught, and the verdict that compares
what the rows say with what arrived. `python -m guestguard_dagster_tests.crash.soak` does it for longer, and
`python -m guestguard_dagster_tests.crash.honesty` writes docs/honesty.md.
"""
