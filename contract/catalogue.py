"""The whole contract: importing this module runs every declaration."""

from __future__ import annotations

from contract import admin, chat_commands, chat_rest, credit, finance, identity, offers, presence, rules, system, typing
from contract.registry import COMMANDS, ENDPOINTS, EVENTS

__all__ = [
    "COMMANDS", "ENDPOINTS", "EVENTS", "admin", "chat_commands", "chat_rest", "credit", "finance", "identity", "offers",
    "presence", "rules", "system", "typing",
]  # fmt: skip

VERSION = "0.1.0"
