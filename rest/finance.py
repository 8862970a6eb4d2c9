"""/api/v1/finance: the mirrors of the socket commands, exports, and what administrators do to credit."""

from __future__ import annotations

from aiohttp import web

from contract import credit
from contract import finance as contract
from models.finance.actions import Finance
from models.finance.corrections import Corrections
from models.finance.reports import Reports
from models.payments.actions import Payments
from rest.endpoint import Call, Rest


def add_finance(
    rest: Rest, finance: Finance, payments: Payments, corrections: Corrections, reports: Reports
) -> None:  # fmt: skip
    rest.mirror(contract.ACCOUNT_GET, finance.account)
    rest.mirror(contract.STATEMENT_GET, finance.statement)
    rest.mirror(credit.SUMMARY_GET, reports.summary)
    rest.mirror(contract.PAYMENTS_POST, payments.pay)
    rest.mirror(contract.REFUNDS_POST, corrections.refund)
    rest.mirror(contract.DISPUTES_POST, corrections.dispute)
    rest.mirror(contract.CREDIT_LIMIT_PUT, finance.set_credit_limit)
    rest.mirror(credit.CREDIT_GET, reports.trail)
    rest.mirror(credit.RISK_GET, reports.risk)
    rest.mirror(credit.RISK_APPLY, reports.apply_risk)
    rest.mirror(contract.PAYMENT_CONFIRM, payments.confirm_by_operator)
    rest.mirror(contract.DISPUTE_RESOLVE, corrections.resolve)

    async def statement_csv(call: Call) -> web.Response:
        text = await reports.statement_csv(call.context, call.payload)
        name = f"statement-{call.payload.currency}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)

    rest.add(credit.STATEMENT_CSV, statement_csv)
