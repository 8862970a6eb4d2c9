"""/chat: every command is an action of the messages and conversations nouns."""

from __future__ import annotations

from contract import chat, chat_commands
from contract.rooms import user_room
from contract.types import Empty
from handlers.base import Gate, Namespace
from handlers.looking import Looking
from models.context import Context
from models.conversations.actions import Conversations
from models.messages.actions import Messages
from models.messages.membership import Membership
from models.messages.reading import Reading
from models.messages.receipts import Receipts
from models.messages.search import Search
from realtime.connections import Connection


class ChatNamespace(Namespace):
    name = "/chat"

    def __init__(
        self,
        gate: Gate,
        conversations: Conversations,
        messages: Messages,
        membership: Membership,
        reading: Reading,
        receipts: Receipts,
        search: Search,
        looking: Looking,
    ) -> None:
        super().__init__(gate)
        self._conversations = conversations
        self._reading = reading
        self._looking = looking
        self.bind(chat_commands.CREATE, membership.create)
        self.bind(chat_commands.LIST, conversations.list_mine)
        self.bind(chat_commands.GET, conversations.get)
        self.bind(chat_commands.SEND, messages.send)
        self.bind(chat_commands.EDIT, messages.edit)
        self.bind(chat_commands.DELETE, messages.delete)
        self.bind(chat_commands.REACT, messages.react)
        self.bind(chat_commands.DELIVERED, receipts.delivered)
        self.bind(chat_commands.READ, receipts.read)
        self.bind(chat_commands.HISTORY, reading.history)
        self.bind(chat_commands.SEARCH, search.search)
        self.bind(chat_commands.SYNC, reading.sync)
        self.bind(chat_commands.MEMBERS, membership.members)
        self.bind(chat_commands.UPDATE, membership.update)
        self.bind_with_connection(chat_commands.JOIN, self.on_join)
        self.bind_with_connection(chat_commands.LEAVE, self.on_leave)

    async def entered(self, connection: Connection, sid: str, context: Context) -> None:
        await self.enter_room(sid, user_room(context.user_id))
        await self._looking.chat_entered(connection)

    async def left(self, connection: Connection, sid: str) -> None:
        await self._looking.leave_all(connection)

    async def on_join(self, connection: Connection, context: Context, payload: chat.Join) -> chat.JoinData:
        data = await self._reading.join(context, payload)
        await self._looking.join(connection, payload.conversation_id)
        return data

    async def on_leave(self, connection: Connection, context: Context, payload: chat.ConversationTarget) -> Empty:
        await self._looking.leave(connection, payload.conversation_id)
        return Empty()
