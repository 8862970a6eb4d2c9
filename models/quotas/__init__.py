"""Quotas: how much of something a user or a conversation has, and has done in a day."""
