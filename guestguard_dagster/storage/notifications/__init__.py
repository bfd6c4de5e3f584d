"""Events of the stream and the mails that answer them; what could not be used; and what we publish ourselves.

The batches in which these mails leave belong to `deliveries`, like those of messages.
"""
