"""Twilio: text messages, one call for each recipient."""
