"""/system: notifications in the app."""

from __future__ import annotations

from contract import system
from handlers.gate import Gate
from handlers.personal import PersonalNamespace
from models.notifications.actions import Notifications
from realtime.rooms import Rooms


class SystemNamespace(PersonalNamespace):
    name = "/system"

    def __init__(self, gate: Gate, rooms: Rooms, notifications: Notifications) -> None:
        super().__init__(gate, rooms)
        self.bind(system.NOTIFICATIONS, notifications.list_mine)
        self.bind(system.NOTIFICATIONS_READ, notifications.mark_read)
        self.bind(system.PREFERENCES, notifications.preferences)
