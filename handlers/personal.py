"""Namespaces whose connections hear what concerns their user, and nothing else."""

from __future__ import annotations

from contract.rooms import user_room
from handlers.base import Namespace
from handlers.gate import Gate
from models.context import Context
from realtime.connections import Connection
from realtime.rooms import Member, Rooms


class PersonalNamespace(Namespace):
    def __init__(self, gate: Gate, rooms: Rooms, name: str) -> None:
        self.name = name
        super().__init__(gate)
        self._rooms = rooms

    async def entered(self, connection: Connection, member: Member, context: Context) -> None:
        self._rooms.enter(member.sid, user_room(context.user_id), self.name)
