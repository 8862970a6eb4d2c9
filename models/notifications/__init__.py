"""Notifications in the app."""
