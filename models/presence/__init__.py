"""Presence: who is there, told only to those who share a conversation."""
