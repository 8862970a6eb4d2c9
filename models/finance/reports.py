"""Summaries and exports of an account's entries, and what follows from them for its limit."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from contract import credit as contract
from contract import finance
from contract.errors import ParleyError, invalid
from contract.types import format_time
from models.context import Actions, Context, now
from models.finance.actions import Finance, moment
from models.finance.risk import assess
from models.finance.spreadsheet import to_csv
from models.ledger.actions import Ledger
from models.ledger.document import Side, account_id, owner_of, to_account, to_entry
from models.users.actions import Users
from storage.mongo import Document

ENTRIES_MAX = 10_000
PAGE = 1_000
SPAN = timedelta(days=90)
SPAN_MAX = timedelta(days=366)
COLUMNS = (
    "seq", "at", "side", "kind", "code", "amount", "currency", "counterparty", "owed", "held", "transfer_id", "note"
)  # fmt: skip


class Reports:
    def __init__(self, finance: Finance, ledger: Ledger, users: Users) -> None:
        self._finance = finance
        self._ledger = ledger
        self._users = users

    def actions(self) -> Actions:
        return {
            contract.SUMMARY: self.summary,
            contract.CREDIT_LIMIT: self.trail,
            contract.RISK: self.risk,
            contract.APPLY_RISK: self.apply_risk,
        }

    async def summary(self, context: Context, payload: contract.GetSummary) -> contract.Summary:
        to = moment("to", payload.to) if payload.to is not None else now()
        from_ = moment("from", payload.from_) if payload.from_ is not None else to - SPAN
        if not from_ < to <= from_ + SPAN_MAX:
            raise invalid("to", "must be after from, and within a year of it")
        identifier = account_id(context.user_id, payload.currency, payload.purpose)
        first, last = await self._finance.between(identifier, from_, to)
        periods: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        others: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for side, transfer in await self._entries(identifier, max(first, last - ENTRIES_MAX), last):
            if transfer["kind"] not in ("single", "post"):
                continue
            other = owner_of(transfer["credit" if side == "debit" else "debit"]["account"])
            for line in (periods[_period(transfer["created_at"], payload.by)], others[other]):
                line[0 if side == "debit" else 1] += transfer["amount"]
                line[2] += 1
        return contract.Summary(
            currency=payload.currency,
            periods=_lines(sorted(periods.items())),
            counterparties=_lines(sorted(others.items(), key=lambda line: (-line[1][0] - line[1][1], line[0]))),
            complete=last - first <= ENTRIES_MAX,
        )

    async def statement_csv(self, context: Context, payload: contract.GetExport) -> str:
        """At most ENTRIES_MAX lines, newest first, as a spreadsheet reads them."""
        identifier = account_id(context.user_id, payload.currency, payload.purpose)
        from_ = moment("from", payload.from_) if payload.from_ is not None else None
        to = moment("to", payload.to) if payload.to is not None else None
        first, last = await self._finance.between(identifier, from_, to)
        rows: list[list[str | int]] = []
        for side, transfer in reversed(await self._entries(identifier, max(first, last - ENTRIES_MAX), last)):
            entry = to_entry(side, transfer)
            other = owner_of(transfer["credit" if side == "debit" else "debit"]["account"])
            rows.append([
                entry.seq, format_time(transfer["created_at"]), side, transfer["kind"], transfer["code"],
                transfer["amount"], transfer["currency"], other, entry.owed, entry.held, transfer["_id"],
                transfer["note"],
            ])  # fmt: skip
        return to_csv(COLUMNS, rows)

    async def _entries(self, identifier: str, after: int, up_to: int) -> list[tuple[Side, Document]]:
        """Oldest first."""
        found: list[tuple[Side, Document]] = []
        for start in range(after, up_to, PAGE):
            found += reversed(await self._ledger.entries(identifier, start, min(start + PAGE, up_to)))
        return found

    # For administrators

    async def trail(self, context: Context, payload: contract.UserCredit) -> contract.CreditTrail:
        await self._users.get(payload.user_id)
        identifier = account_id(payload.user_id, payload.currency, "payable")
        changes = [
            contract.LimitChange(
                before=change["before"], after=change["after"], by=change["by"], reason=change["reason"],
                at=format_time(change["created_at"]),
            )
            for change in reversed(await self._ledger.limits(identifier))
        ]  # fmt: skip
        return contract.CreditTrail(account=to_account(await self._ledger.account(identifier)), changes=changes)

    async def risk(self, context: Context, payload: contract.UserCredit) -> contract.Risk:
        await self._users.get(payload.user_id)
        identifier = account_id(payload.user_id, payload.currency, "payable")
        account = await self._ledger.account(identifier)
        entries = await self._entries(identifier, max(0, account["seq"] - ENTRIES_MAX), account["seq"])
        found = assess(account, entries, now())
        return contract.Risk(
            user_id=payload.user_id, currency=payload.currency, score=found.score, factors=found.factors,
            suggested_limit=found.suggested_limit, account=to_account(account),
        )  # fmt: skip

    async def apply_risk(self, context: Context, payload: contract.ApplyRisk) -> finance.Account:
        seen = await self.risk(context, contract.UserCredit(user_id=payload.user_id, currency=payload.currency))
        if seen.suggested_limit != payload.suggested_limit:
            raise ParleyError("conflict", f"The limit suggested is {seen.suggested_limit} by now.")
        points = ", ".join(f"{factor.name} -{factor.points}" for factor in seen.factors)
        wanted = finance.SetCreditLimit(
            user_id=payload.user_id, amount=seen.suggested_limit, currency=payload.currency,
            reason=f"risk score {seen.score} ({points})" if seen.score is not None else "risk score: no history",
        )  # fmt: skip
        return await self._finance.set_credit_limit(context, wanted)


def _lines(items: list[tuple[str, list[int]]]) -> list[contract.SummaryLine]:
    return [
        contract.SummaryLine(key=key, debits=debits, credits=credits, transfers=count)
        for key, (debits, credits, count) in items
    ]


def _period(at: datetime, by: contract.Period) -> str:
    day = at.date()
    if by == "week":
        day -= timedelta(days=day.weekday())
    elif by == "month":
        day = day.replace(day=1)
    return day.isoformat()
