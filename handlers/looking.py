"""Which connections look at which conversation: `chat:join` decides who hears of typing.

Typing events go out on /typing, so joining on a connection's /chat puts its /typing into the conversation's room. A
client that keeps its namespaces on separate connections has a /typing connection without /chat; that one follows what
its login session joined elsewhere on this process. Removal from a conversation ends the look at once, everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contract.rooms import presence_room, typing_room
from realtime.bus import Bus
from realtime.connections import Connection, Connections
from realtime.rooms import Rooms

LOOKING_MAX = 200


class Looking:
    """`departures` counts who left a conversation, of all.

    Whoever looks up a right, waits for the answer and then enters a room compares it with what it was before: someone
    who left meanwhile was not in the room yet, and nobody would take them out of it.
    """

    def __init__(self, rooms: Rooms, connections: Connections, bus: Bus) -> None:
        self._rooms = rooms
        self.departures = 0
        self._connections = connections
        bus.subscribe("left_conversation", self._left_conversation)

    def join(self, connection: Connection, conversation_id: str) -> None:
        """The oldest look ends when there are too many: a screen shows one conversation, not hundreds."""
        while len(connection.looking_at) >= LOOKING_MAX and conversation_id not in connection.looking_at:
            self.leave(connection, next(iter(connection.looking_at)))
        connection.looking_at[conversation_id] = None
        for sid in self._typing_sids(connection):
            self._rooms.enter(sid, typing_room(conversation_id), "/typing")

    def leave(self, connection: Connection, conversation_id: str) -> None:
        if connection.looking_at.pop(conversation_id, 0) == 0:
            return
        for sid in self._typing_sids(connection):
            self._rooms.leave(sid, typing_room(conversation_id), "/typing")

    def leave_all(self, connection: Connection) -> None:
        for conversation_id in list(connection.looking_at):
            self.leave(connection, conversation_id)

    def typing_entered(self, connection: Connection, sid: str) -> None:
        """A /typing has come after the joins it should follow."""
        sources = [connection] if connection.sid_in("/chat") is not None else self._connections.of_session(
            connection.identity.session_id
        )  # fmt: skip
        for source in sources:
            for conversation_id in source.looking_at:
                self._rooms.enter(sid, typing_room(conversation_id), "/typing")

    def chat_entered(self, connection: Connection) -> None:
        """This connection speaks for itself from here on: its /typing follows no other connection's joins."""
        sid = connection.sid_in("/typing")
        if sid is None:
            return
        for other in self._connections.of_session(connection.identity.session_id):
            for conversation_id in other.looking_at:
                self._rooms.leave(sid, typing_room(conversation_id), "/typing")

    def _typing_sids(self, connection: Connection) -> list[str]:
        followers = [
            other
            for other in self._connections.of_session(connection.identity.session_id)
            if other is connection or other.sid_in("/chat") is None
        ]
        return [sid for other in followers if (sid := other.sid_in("/typing")) is not None]

    async def _left_conversation(self, data: dict[str, Any]) -> None:
        self.left(data["user_id"], data["conversation_id"], data["strangers"])

    def left(self, user_id: str, conversation_id: str, strangers: Sequence[str]) -> bool:
        """Someone left a conversation: they stop looking, and strangers stop seeing each other's presence.

        False if nobody here was looking or watching any more.
        """
        self.departures += 1
        found = False
        for connection in self._connections.of_user(user_id):
            found |= conversation_id in connection.looking_at
            self.leave(connection, conversation_id)
            for stranger in strangers:
                found |= self._unwatch(connection, stranger)
        for stranger in strangers:
            for connection in self._connections.of_user(stranger):
                found |= self._unwatch(connection, user_id)
        return found

    def is_watched(self, user_id: str) -> bool:
        """Somebody here sees this user's presence."""
        return self._rooms.anyone_in("/presence", [presence_room(user_id)])

    def _unwatch(self, connection: Connection, user_id: str) -> bool:
        sid = connection.sid_in("/presence")
        return sid is not None and self._rooms.leave(sid, presence_room(user_id), "/presence")
