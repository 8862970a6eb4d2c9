"""/finance: every command is an action of the finance and payments nouns."""

from __future__ import annotations

from contract import credit
from contract import finance as contract
from contract.rooms import user_room
from handlers.base import Namespace
from handlers.gate import Gate
from models.context import Context
from models.finance.actions import Finance
from models.finance.corrections import Corrections
from models.finance.reports import Reports
from models.payments.actions import Payments
from realtime.connections import Connection
from realtime.rooms import Member, Rooms


class FinanceNamespace(Namespace):
    name = "/finance"

    def __init__(
        self, gate: Gate, rooms: Rooms, finance: Finance, payments: Payments, corrections: Corrections, reports: Reports
    ) -> None:  # fmt: skip
        super().__init__(gate)
        self._rooms = rooms
        self.bind(contract.ACCOUNT, finance.account)
        self.bind(contract.STATEMENT, finance.statement)
        self.bind(credit.SUMMARY, reports.summary)
        self.bind(contract.PAY, payments.pay)
        self.bind(contract.REFUND, corrections.refund)
        self.bind(contract.DISPUTE, corrections.dispute)

    async def entered(self, connection: Connection, member: Member, context: Context) -> None:
        self._rooms.enter(member.sid, user_room(context.user_id), self.name)
