"""The one place that talks to each provider. Every answer leaves here as an `Outcome`; no SDK object does.

A folder per provider, with its entry in `provider.py`; `registry.py` lists them once, in order. Web, jobs and the local
stack ask the registry, and name no provider of their own. Settings stay in `settings.py`, which lies below.
"""
