"""Payments: users pay what they owe, through a provider."""
