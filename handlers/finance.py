"""/finance: every command is an action of the finance and payments nouns."""

from __future__ import annotations

from contract import credit
from contract import finance as contract
from handlers.gate import Gate
from handlers.personal import PersonalNamespace
from models.finance.actions import Finance
from models.finance.corrections import Corrections
from models.finance.reports import Reports
from models.payments.actions import Payments
from realtime.rooms import Rooms


class FinanceNamespace(PersonalNamespace):
    name = "/finance"

    def __init__(
        self, gate: Gate, rooms: Rooms, finance: Finance, payments: Payments, corrections: Corrections, reports: Reports
    ) -> None:  # fmt: skip
        super().__init__(gate, rooms)
        self.bind(contract.ACCOUNT, finance.account)
        self.bind(contract.STATEMENT, finance.statement)
        self.bind(credit.SUMMARY, reports.summary)
        self.bind(contract.PAY, payments.pay)
        self.bind(contract.REFUND, corrections.refund)
        self.bind(contract.DISPUTE, corrections.dispute)
