"""/typing: who is writing right now."""

from __future__ import annotations

from handlers.base import Namespace
from handlers.gate import Gate
from handlers.looking import Looking
from models.context import Context
from realtime.connections import Connection
from realtime.rooms import Member


class TypingNamespace(Namespace):
    name = "/typing"

    def __init__(self, gate: Gate, looking: Looking) -> None:
        super().__init__(gate)
        self._looking = looking

    async def entered(self, connection: Connection, member: Member, context: Context) -> None:
        self._looking.typing_entered(connection, member.sid)
