"""The whole contract: importing this module runs every declaration."""

from __future__ import annotations

from contract import admin, chat_commands, credit, finance, identity, offers, presence, rules, system, typing
from contract.registry import COMMANDS, ENDPOINTS, EVENTS, OPERATIONS

__all__ = ["COMMANDS", "ENDPOINTS", "EVENTS", "OPERATIONS"]
__all__ += [
    "admin",
    "chat_commands",
    "credit",
    "finance",
    "identity",
    "offers",
    "presence",
    "rules",
    "system",
    "typing",
]

VERSION = "0.1.0"
