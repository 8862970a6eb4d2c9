"""What of /api/v1/finance is no JSON: the export of a statement."""

from __future__ import annotations

from aiohttp import web

from contract import credit
from models.finance.reports import Reports
from rest.endpoint import Call, Rest


def bind_finance(rest: Rest, reports: Reports) -> None:
    async def export(call: Call) -> web.Response:
        text = await reports.statement_csv(call.context, call.payload)
        name = f"statement-{call.payload.currency}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)

    rest.bind(credit.EXPORT, export)
