"""Hostile clients beside honest ones: what those wait, and whether anybody innocent is refused."""
