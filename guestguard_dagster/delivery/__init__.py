"""The delivery engine: claim, freeze the audience, preflight, hand off, settle, finish. Plain Python, no framework.

Every step looks at rows, never at the step before it: each is safe alone, again, and after any crash.
"""
