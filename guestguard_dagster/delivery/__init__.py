"""The delivery engine: claim, freeze the audience, preflight, hand off, settle, finish. Plain Python, no framework.

Each step of the send job is the module of its name: `claim`, `load_recipients`, `render`, `dispatch`,
`record_deliveries`, `mark_sent`. `dispatch` turns over messages and channels; `worker` leases, marks and hands off the
batches of one channel, with `composing` and `hand_off` around it; `provider_gate` says whether anything may leave,
`settling` what an answer means.

Every step looks at rows, never at the step before it: each is safe alone, again, and after any crash. SQL belongs to
`storage`, what a mail looks like to `rendering`, how a provider is talked to to `senders`; other uses of the engine,
such as notifications and system mail, have rooms of their own.
"""
