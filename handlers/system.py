"""/system: notifications in the app."""

from __future__ import annotations

from contract import system
from contract.rooms import user_room
from handlers.base import Namespace
from handlers.gate import Gate
from models.context import Context
from models.notifications.actions import Notifications
from realtime.connections import Connection
from realtime.rooms import Member, Rooms


class SystemNamespace(Namespace):
    name = "/system"

    def __init__(self, gate: Gate, rooms: Rooms, notifications: Notifications) -> None:
        super().__init__(gate)
        self._rooms = rooms
        self.bind(system.NOTIFICATIONS, notifications.list_mine)
        self.bind(system.NOTIFICATIONS_READ, notifications.mark_read)
        self.bind(system.PREFERENCES, notifications.preferences)

    async def entered(self, connection: Connection, member: Member, context: Context) -> None:
        self._rooms.enter(member.sid, user_room(context.user_id), self.name)
