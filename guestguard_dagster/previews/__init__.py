"""A message as one guest would get it, before it leaves: previews and test sends.

Nothing here writes a delivery, and nothing here decides how a mail looks: that is `rendering`.
"""
