"""/api/v1/chat and /api/v1/notifications: the mirrors of the socket commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from contract import chat_commands, system
from contract.chat_rest import HISTORY_PAGE, MIRRORS
from contract.registry import Command
from models.context import Context
from models.conversations.actions import Conversations
from models.messages.actions import Messages
from models.messages.membership import Membership
from models.messages.reading import Reading
from models.messages.receipts import Receipts
from models.messages.search import Search
from models.notifications.actions import Notifications
from rest.endpoint import Rest

Action = Callable[[Context, Any], Awaitable[Any]]


def add_chat(
    rest: Rest,
    conversations: Conversations,
    messages: Messages,
    membership: Membership,
    reading: Reading,
    receipts: Receipts,
    search: Search,
) -> None:
    actions: dict[Command, Action] = {
        chat_commands.LIST: conversations.list_mine,
        chat_commands.CREATE: membership.create,
        chat_commands.GET: conversations.get,
        chat_commands.UPDATE: membership.update,
        chat_commands.MEMBERS: membership.members,
        chat_commands.SEND: messages.send,
        chat_commands.DELIVERED: receipts.delivered,
        chat_commands.READ: receipts.read,
        chat_commands.EDIT: messages.edit,
        chat_commands.DELETE: messages.delete,
        chat_commands.REACT: messages.react,
        chat_commands.SEARCH: search.search,
        chat_commands.SYNC: reading.sync,
    }
    for endpoint in MIRRORS:
        assert endpoint.command is not None
        rest.mirror(endpoint, actions[endpoint.command])
    rest.mirror(HISTORY_PAGE, reading.history_page)


def add_notifications(rest: Rest, notifications: Notifications) -> None:
    rest.mirror(system.NOTIFICATIONS_GET, notifications.list_mine)
    rest.mirror(system.NOTIFICATIONS_POST_READ, notifications.mark_read)
    rest.mirror(system.PREFERENCES_PATCH, notifications.preferences)
