"""This web process, as an administrator sees it."""
