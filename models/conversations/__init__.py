"""Conversations: who is in them, their head and their marks."""
