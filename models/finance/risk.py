"""How likely a user pays what they owe: a score that can be explained. No I/O.

    score = 100 - utilisation points - lateness points - dispute points

    utilisation   30 × how far what is owed and held is beyond half of the limit, from 0 (half or less) to 1 (all)
    lateness      50 × the share of what was taken in the last YEAR_DAYS that was, or is, paid later than DUE_DAYS;
                  payments and refunds settle what was taken first before what was taken later
    disputes      20 × lost disputes × 5 / deals that were taken, 1 at most

The limit it suggests is what was paid in the last RECENT_DAYS × score / 50: twice that for the best, nothing for 0.
Without a deal there is no score, and the limit stays what it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from contract.credit import RiskFactor
from models.ledger.document import Side, owed
from storage.mongo import Document

DUE_DAYS = 30
RECENT_DAYS = 90
YEAR_DAYS = 365
Name = Literal["utilisation", "lateness", "disputes"]
WEIGHTS: dict[Name, int] = {"utilisation": 30, "lateness": 50, "disputes": 20}
LOST_FACTOR = 5


@dataclass(frozen=True, slots=True)
class Assessment:
    score: int | None
    factors: list[RiskFactor]
    suggested_limit: int


def assess(account: Document, entries: Sequence[tuple[Side, Document]], at: datetime) -> Assessment:
    """`entries`: the account's, oldest first."""
    posted = [(side, one) for side, one in entries if one["kind"] in ("single", "post")]
    deals = [one for side, one in posted if side == "debit"]
    if not deals:
        return Assessment(None, [], account["limit"] or 0)
    taken, late = _lateness(posted, at)
    lost = sum(side == "credit" and one["kind"] == "void" and one["code"] == "dispute" for side, one in entries)
    factors = [
        _utilisation(account),
        _factor("lateness", late / taken if taken else 0.0, f"{late} of {taken} paid later than {DUE_DAYS} days"),
        _factor("disputes", lost * LOST_FACTOR / len(deals), f"{lost} lost disputes in {len(deals)} deals"),
    ]
    score = 100 - sum(factor.points for factor in factors)
    recent = at - timedelta(days=RECENT_DAYS)
    paid = sum(one["amount"] for side, one in posted if side == "credit" and one["created_at"] >= recent)
    return Assessment(score, factors, paid * score // 50)


def _utilisation(account: Document) -> RiskFactor:
    limit, used = account["limit"] or 0, max(0, owed(account))
    share = used / limit if limit else float(used > 0)
    return _factor("utilisation", (share - 0.5) * 2, f"{used} of {limit} owed or held")


def _factor(name: Name, value: float, explanation: str) -> RiskFactor:
    value, weight = min(1.0, max(0.0, value)), WEIGHTS[name]
    points = round(weight * value)
    return RiskFactor(name=name, value=round(value, 4), weight=weight, points=points, explanation=explanation)


def _lateness(posted: Sequence[tuple[Side, Document]], at: datetime) -> tuple[int, int]:
    """(what was taken in the last year, how much of it was not paid in time)."""
    since, due = at - timedelta(days=YEAR_DAYS), timedelta(days=DUE_DAYS)
    taken = late = credit = 0
    open_: deque[list[datetime | int]] = deque()  # [taken at, still open]

    def settle(moment: datetime) -> None:
        nonlocal late, credit
        while credit and open_:
            taken_at, amount = open_[0]
            assert isinstance(taken_at, datetime)
            assert isinstance(amount, int)
            part = min(credit, amount)
            credit -= part
            if taken_at >= since and moment > taken_at + due:
                late += part
            if part == amount:
                open_.popleft()
            else:
                open_[0][1] = amount - part

    for side, transfer in posted:
        if side == "debit":
            open_.append([transfer["created_at"], transfer["amount"]])
            taken += transfer["amount"] if transfer["created_at"] >= since else 0
        else:
            credit += transfer["amount"]
        settle(transfer["created_at"])
    for taken_at, amount in open_:
        assert isinstance(taken_at, datetime)
        assert isinstance(amount, int)
        if since <= taken_at < at - due:
            late += amount
    return taken, late
