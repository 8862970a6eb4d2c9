"""/presence: subscriptions are rooms this connection enters once the action has said who may be seen."""

from __future__ import annotations

from contract import presence as contract
from contract.rooms import presence_room
from contract.types import Empty
from handlers.base import Gate, Namespace
from models.context import Context
from models.presence.actions import PresenceActions
from realtime.connections import Connection


class PresenceNamespace(Namespace):
    name = "/presence"

    def __init__(self, gate: Gate, presence: PresenceActions) -> None:
        super().__init__(gate)
        self._presence = presence
        self.bind(contract.SET, presence.set_status)
        self.bind_with_connection(contract.SUBSCRIBE, self.on_subscribe)
        self.bind_with_connection(contract.UNSUBSCRIBE, self.on_unsubscribe)

    async def on_subscribe(
        self, connection: Connection, context: Context, payload: contract.Subscribe
    ) -> contract.Presences:
        allowed = await self._presence.visible(context, payload.user_ids)
        for user_id in allowed:  # before the snapshot is read, so that no change falls between the two
            await self.enter_room(connection.sids[self.name], presence_room(user_id))
        return await self._presence.snapshot(context, payload.user_ids, allowed)

    async def on_unsubscribe(self, connection: Connection, context: Context, payload: contract.Subscribe) -> Empty:
        for user_id in payload.user_ids:
            await self.leave_room(connection.sids[self.name], presence_room(user_id))
        return Empty()
