"""/api/v1/chat and /api/v1/notifications: the mirrors of the socket commands."""

from __future__ import annotations

from contract import system
from contract.chat_rest import HISTORY_PAGE, MIRRORS
from models.messages.doors import Chat
from models.notifications.actions import Notifications
from rest.endpoint import Rest


def add_chat(rest: Rest, doors: Chat) -> None:
    actions = doors.actions()
    for endpoint in MIRRORS:
        assert endpoint.command is not None
        rest.mirror(endpoint, actions[endpoint.command])
    rest.mirror(HISTORY_PAGE, doors.reading.history_page)


def add_notifications(rest: Rest, notifications: Notifications) -> None:
    rest.mirror(system.NOTIFICATIONS_GET, notifications.list_mine)
    rest.mirror(system.NOTIFICATIONS_POST_READ, notifications.mark_read)
    rest.mirror(system.PREFERENCES_PATCH, notifications.preferences)
