"""The whole contract: importing this module runs every declaration."""

from __future__ import annotations

from contract import chat_commands, chat_rest, identity, presence, system, typing
from contract.registry import COMMANDS, ENDPOINTS, EVENTS

__all__ = ["COMMANDS", "ENDPOINTS", "EVENTS", "chat_commands", "chat_rest", "identity", "presence", "system", "typing"]

VERSION = "0.1.0"
