"""Scheduled messages. Nothing outside this folder writes when, or whether, one leaves.

Each state has one module that writes it: `repo` the life of a message from draft to sent, `holds` who stopped it,
`run_requests` which run was requested for it and how long it waits. `writing` has the statements they share.
"""
