"""The one place that talks to each provider. Every answer leaves here as an `Outcome`; no SDK object does."""
