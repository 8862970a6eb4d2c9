"""Passwords, tokens, secrets, cross-site request tokens and rate limits."""
