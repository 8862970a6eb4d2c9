"""/chat: opening a conversation is looking at it with this connection."""

from __future__ import annotations

from contract import chat, chat_commands
from contract.errors import ParleyError
from contract.rooms import user_room
from contract.types import Empty
from handlers.base import Namespace
from handlers.gate import Gate
from handlers.looking import Looking
from models.context import Context
from models.messages.reading import Reading
from realtime.connections import Connection
from realtime.recovery import Parted
from realtime.rooms import Member, Rooms


class ChatNamespace(Namespace):
    name = "/chat"

    def __init__(self, gate: Gate, rooms: Rooms, reading: Reading, looking: Looking) -> None:
        super().__init__(gate)
        self._rooms = rooms
        self._reading = reading
        self._looking = looking
        self.bind(chat_commands.JOIN, self.on_join)
        self.bind(chat_commands.LEAVE, self.on_leave)

    async def entered(self, connection: Connection, member: Member, context: Context) -> None:
        self._rooms.enter(member.sid, user_room(context.user_id), self.name)
        self._looking.chat_entered(connection)

    def state(self, connection: Connection) -> list[str]:
        return list(connection.looking_at)

    async def returned(self, connection: Connection, member: Member, context: Context, before: Parted) -> None:
        await self.entered(connection, member, context)
        for conversation_id in before.state:
            seen = self._looking.departures
            if await self._reading.may_look(context, conversation_id):
                await self._enter(connection, context, conversation_id, seen)

    def left(self, connection: Connection) -> None:
        self._looking.leave_all(connection)

    async def on_join(self, connection: Connection, context: Context, payload: chat.Join) -> chat.JoinData:
        seen = self._looking.departures
        data = await self._reading.join(context, payload)
        if not await self._enter(connection, context, payload.conversation_id, seen):
            raise ParleyError("not_a_participant")
        return data

    async def _enter(self, connection: Connection, context: Context, conversation_id: str, seen: int) -> bool:
        """Whether they may still look, of whom that was so when there had been `seen` departures."""
        if connection.sid_in(self.name) is None:  # it has left, and would look for ever
            return True
        self._looking.join(connection, conversation_id)
        still = self._looking.departures == seen
        try:
            still = still or await self._reading.still_may_look(context, conversation_id)
        finally:
            if not still:
                self._looking.leave(connection, conversation_id)
        return still

    def on_leave(self, connection: Connection, context: Context, payload: chat.ConversationTarget) -> Empty:
        self._looking.leave(connection, payload.conversation_id)
        return Empty()
