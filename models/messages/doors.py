"""Which action each operation of /chat is."""

from __future__ import annotations

from dataclasses import dataclass

from contract import chat_commands as commands
from models.context import Actions
from models.conversations.actions import Conversations
from models.conversations.lists import Lists
from models.messages.actions import Messages
from models.messages.membership import Membership
from models.messages.reading import Reading
from models.messages.receipts import Receipts
from models.messages.search import Search


@dataclass(frozen=True, slots=True)
class Chat:
    conversations: Conversations
    lists: Lists
    messages: Messages
    membership: Membership
    reading: Reading
    receipts: Receipts
    search: Search

    def actions(self) -> Actions:
        """All but `chat:join` and `chat:leave`, which concern a connection."""
        return {
            commands.CREATE: self.membership.create,
            commands.LIST: self.lists.list_mine,
            commands.GET: self.conversations.get,
            commands.SEND: self.messages.send,
            commands.EDIT: self.messages.edit,
            commands.DELETE: self.messages.delete,
            commands.REACT: self.messages.react,
            commands.DELIVERED: self.receipts.delivered,
            commands.READ: self.receipts.read,
            commands.HISTORY: self.reading.history,
            commands.HISTORY_PAGE: self.reading.history_page,
            commands.SEARCH: self.search.search,
            commands.SYNC: self.reading.sync,
            commands.MEMBERS: self.membership.members,
            commands.UPDATE: self.membership.update,
        }
