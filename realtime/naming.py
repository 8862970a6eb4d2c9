"""How logs name a session: never by its id, since whoever knows that can poll for the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.logs import digest

if TYPE_CHECKING:
    from realtime.session import Session


def name_of(session: Session) -> str:
    """As administrators see its connection, or before a log-in by a digest."""
    return f"connection {session.owner.id}" if session.owner is not None else f"a stranger ({digest(session.sid)})"
