"""Names of fan-out addresses. A room is only an address; who may be reached there is decided before anyone enters."""

from __future__ import annotations

import sys


def user_room(user_id: str) -> str:
    """Every connection of one user, in /chat and /system. One string for all who keep it: each namespace is in it."""
    return sys.intern(f"user:{user_id}")


def typing_room(conversation_id: str) -> str:
    """Connections in /typing that look at the conversation."""
    return f"typing:{conversation_id}"


def presence_room(user_id: str) -> str:
    """Connections in /presence that subscribed to this user's presence."""
    return f"presence:{user_id}"


def presence_user(room: str) -> str | None:
    """Whose presence the room is about; None for any other room."""
    kind, _, user_id = room.partition(":")
    return user_id if kind == "presence" else None
