"""/typing: who is writing right now."""

from __future__ import annotations

from contract import typing as contract
from handlers.base import Namespace
from handlers.gate import Gate
from handlers.looking import Looking
from models.context import Context
from models.typing.actions import TypingSignals
from realtime.connections import Connection
from realtime.rooms import Member


class TypingNamespace(Namespace):
    name = "/typing"

    def __init__(self, gate: Gate, signals: TypingSignals, looking: Looking) -> None:
        super().__init__(gate)
        self._looking = looking
        self.bind(contract.START, signals.begin)
        self.bind(contract.STOP, signals.end)

    async def entered(self, connection: Connection, member: Member, context: Context) -> None:
        self._looking.typing_entered(connection, member.sid)
