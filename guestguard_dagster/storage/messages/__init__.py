"""Scheduled messages. Nothing outside this folder and `storage.asks` writes when, or whether, one leaves.

Each state has one module that writes it: `repo` the life of a message from draft to sent, `holds` who stopped it,
`storage.asks` which run was requested for it and how long it waits. `writing` has the statements they share.
"""

from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.writing import apply_reminder_change, edit_message, insert_messages

__all__ = ["MessageRepo", "apply_reminder_change", "edit_message", "insert_messages"]
