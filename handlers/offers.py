"""/offers: every command is an action of the offers noun."""

from __future__ import annotations

from contract import offers as contract
from contract.rooms import user_room
from handlers.base import Namespace
from handlers.gate import Gate
from models.context import Context
from models.offers.actions import Offers
from realtime.connections import Connection
from realtime.rooms import Member, Rooms


class OffersNamespace(Namespace):
    name = "/offers"

    def __init__(self, gate: Gate, rooms: Rooms, offers: Offers) -> None:
        super().__init__(gate)
        self._rooms = rooms
        self.bind(contract.CREATE, offers.create)
        self.bind(contract.RESPOND, offers.respond)
        self.bind(contract.FULFIL, offers.fulfil)
        self.bind(contract.CANCEL, offers.cancel)
        self.bind(contract.GET, offers.get)
        self.bind(contract.LIST, offers.list_mine)

    async def entered(self, connection: Connection, member: Member, context: Context) -> None:
        self._rooms.enter(member.sid, user_room(context.user_id), self.name)
