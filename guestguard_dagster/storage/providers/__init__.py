"""Providers' accounts: their rate limits, circuit breakers and callbacks."""
