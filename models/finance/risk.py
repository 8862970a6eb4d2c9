"""How likely a user pays what they owe: a score that can be explained. No I/O.

    score = 100 - utilisation points - lateness points - dispute points

    utilisation   30 × how far what is owed and held is beyond half of the limit, from 0 (half or less) to 1 (all)
    lateness      50 × the share of what was taken in the last YEAR_DAYS that was, or is, paid later than DUE_DAYS;
                  payments settle what was taken first before what was taken later
    disputes      20 × lost disputes × 5 / deals that were taken, 1 at most

The limit it suggests is what was paid in the last RECENT_DAYS × score / 50: twice that for the best, nothing for 0.
What was given back was not taken: refunds and won disputes are neither deals nor payments, so that no two people can
make a history out of nothing. Nor is what moved to the credit balance a payment: it becomes one when a debt is paid
from there, so that the same money counts once. Without a deal there is no score, and the limit stays what it is.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from contract.credit import RiskFactor
from models.ledger.document import TO_BALANCE, Side, owed
from storage.mongo import Document

DUE_DAYS = 30
RECENT_DAYS = 90
YEAR_DAYS = 365
Name = Literal["utilisation", "lateness", "disputes"]
WEIGHTS: dict[Name, int] = {"utilisation": 30, "lateness": 50, "disputes": 20}
LOST_FACTOR = 5

Moment = tuple[datetime, int]  # when, and how much


@dataclass(frozen=True, slots=True)
class Assessment:
    score: int | None
    factors: list[RiskFactor]
    suggested_limit: int


def assess(account: Document, entries: Sequence[tuple[Side, Document]], at: datetime) -> Assessment:
    """`entries`: the account's, oldest first."""
    deals, payments = _history(entries)
    if not deals:
        return Assessment(None, [], account["limit"] or 0)
    taken, late = _lateness(deals, payments, at)
    lost = sum(side == "credit" and one["kind"] == "void" and one["code"] == "dispute" for side, one in entries)
    factors = [
        _utilisation(account),
        _factor("lateness", late / taken if taken else 0.0, f"{late} of {taken} paid later than {DUE_DAYS} days"),
        _factor("disputes", lost * LOST_FACTOR / len(deals), f"{lost} lost disputes in {len(deals)} deals"),
    ]
    score = 100 - sum(factor.points for factor in factors)
    recent = at - timedelta(days=RECENT_DAYS)
    paid = sum(amount for paid_at, amount in payments if paid_at >= recent)
    return Assessment(score, factors, paid * score // 50)


def _history(entries: Sequence[tuple[Side, Document]]) -> tuple[list[Moment], list[Moment]]:
    """(what was taken and not given back, what was paid), oldest first."""
    back: dict[str, int] = defaultdict(int)
    disputed = {one["_id"]: one["corrects_id"] for _, one in entries if one["kind"] == "pending" and one["corrects_id"]}
    for side, one in entries:
        if side == "credit" and one["kind"] == "single" and one["corrects_id"]:
            back[one["corrects_id"]] += one["amount"]
        elif one["kind"] == "post" and one["pending_id"] in disputed:
            back[disputed[one["pending_id"]]] += one["amount"]
    deals = [
        (one["created_at"], one["amount"] - back[one["_id"]])
        for side, one in entries
        if side == "debit" and one["kind"] in ("single", "post") and one["code"] != TO_BALANCE
    ]
    return [deal for deal in deals if deal[1] > 0], _payments(entries)


def _payments(entries: Sequence[tuple[Side, Document]]) -> list[Moment]:
    """What was paid and stayed on the account, oldest first: what left it again was of the newest payments."""
    payments: list[Moment] = []
    for side, one in entries:
        if side == "credit" and (one["kind"], one["code"]) == ("single", "payment"):
            payments.append((one["created_at"], one["amount"]))
        elif side == "debit" and one["code"] == TO_BALANCE:
            left = one["amount"]
            while left and payments:
                at, amount = payments.pop()
                if amount > left:
                    payments.append((at, amount - left))
                left -= min(left, amount)
    return payments


def _utilisation(account: Document) -> RiskFactor:
    limit, used = account["limit"] or 0, max(0, owed(account))
    share = used / limit if limit else float(used > 0)
    return _factor("utilisation", (share - 0.5) * 2, f"{used} of {limit} owed or held")


def _factor(name: Name, value: float, explanation: str) -> RiskFactor:
    value, weight = min(1.0, max(0.0, value)), WEIGHTS[name]
    points = round(weight * value)
    return RiskFactor(name=name, value=round(value, 4), weight=weight, points=points, explanation=explanation)


def _lateness(deals: Sequence[Moment], payments: Sequence[Moment], at: datetime) -> tuple[int, int]:
    """(what was taken in the last year, how much of it was not paid in time)."""
    since, due = at - timedelta(days=YEAR_DAYS), timedelta(days=DUE_DAYS)
    money = deque(payments)
    taken = late = 0
    for taken_at, amount in deals:
        counts, left = taken_at >= since, amount
        taken += amount if counts else 0
        while left and money:
            paid_at, sum_ = money.popleft()
            part = min(left, sum_)
            left -= part
            if sum_ > part:
                money.appendleft((paid_at, sum_ - part))
            if counts and paid_at > taken_at + due:
                late += part
        if counts and taken_at < at - due:
            late += left
    return taken, late
