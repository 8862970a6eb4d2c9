"""/presence: subscriptions are rooms this connection enters once the action has said who may be seen."""

from __future__ import annotations

from contract import presence as contract
from contract.rooms import presence_room, presence_user
from contract.types import Empty
from handlers.base import Namespace
from handlers.gate import Gate
from handlers.looking import Looking
from models.context import Context
from models.presence.actions import PresenceActions
from realtime.connections import Connection
from realtime.recovery import Parted
from realtime.rooms import Member, Rooms


class PresenceNamespace(Namespace):
    name = "/presence"

    def __init__(self, gate: Gate, rooms: Rooms, presence: PresenceActions, looking: Looking) -> None:
        super().__init__(gate)
        self._rooms = rooms
        self._looking = looking
        self._presence = presence
        self.bind(contract.SUBSCRIBE, self.on_subscribe)
        self.bind(contract.UNSUBSCRIBE, self.on_unsubscribe)

    async def on_subscribe(
        self, connection: Connection, context: Context, payload: contract.Subscribe
    ) -> contract.Presences:
        # Before the snapshot is read, so that no change falls between the two.
        allowed = await self._enter(connection.sid_in(self.name) or "", context, payload.user_ids)
        return await self._presence.snapshot(context, payload.user_ids, allowed)

    async def returned(self, connection: Connection, member: Member, context: Context, before: Parted) -> None:
        watched = [user_id for room in before.rooms if (user_id := presence_user(room)) is not None]
        await self._enter(member.sid, context, watched)

    async def _enter(self, sid: str, context: Context, user_ids: list[str]) -> list[str]:
        """Enters the rooms of those whom the caller may see, and is in no other though someone left meanwhile."""
        seen = self._looking.departures
        allowed = await self._presence.visible(context, user_ids)
        for user_id in allowed:
            self._rooms.enter(sid, presence_room(user_id), self.name)
        if self._looking.departures == seen:
            return allowed
        still: list[str] = []
        try:
            still = await self._presence.visible(context, allowed)
        finally:
            for user_id in set(allowed).difference(still):
                self._rooms.leave(sid, presence_room(user_id), self.name)
        return still

    def on_unsubscribe(self, connection: Connection, context: Context, payload: contract.Subscribe) -> Empty:
        for user_id in payload.user_ids:
            self._rooms.leave(connection.sid_in(self.name) or "", presence_room(user_id), self.name)
        return Empty()
