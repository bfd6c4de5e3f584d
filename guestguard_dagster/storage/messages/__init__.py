"""Scheduled messages. Nothing outside this folder writes when, or whether, one leaves.

Each state has one module that writes it: `leaving` takes a message to `sending`, `ending` ends it, `holds` has who
stopped it, `run_requests` which run was requested for it and how long it waits. `repo` is what hosts and the engine
call; `writing` has the statements that they share.
"""
