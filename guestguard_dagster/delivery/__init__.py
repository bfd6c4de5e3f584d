"""The delivery engine: claim, freeze the audience, preflight, hand off, settle, finish. Plain Python, no framework.

Every step looks at rows, never at the step before it: each is safe alone, again, and after any crash. SQL belongs to
`storage`, what a mail looks like to `rendering`, how a provider is talked to to `senders`; other uses of the engine,
such as notifications and system mail, have rooms of their own.
"""
