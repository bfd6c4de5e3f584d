"""Resend: mail in batches, each of them a fixed request that it recognises when it is repeated."""
