"""Typing: who is writing right now."""
