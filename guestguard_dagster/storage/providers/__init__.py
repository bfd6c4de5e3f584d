"""Providers' accounts: their rate limits, circuit breakers and callbacks.

What an account was given, and what it answered, belongs to `deliveries`.
"""
