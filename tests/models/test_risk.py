"""The risk score, from histories one can follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.finance.risk import assess

AT = datetime(2026, 11, 1, tzinfo=UTC)
Entry = tuple[Any, dict[str, Any]]


def entry(side: str, days_ago: float, amount: int, kind: str = "post", code: str = "offer") -> Entry:
    return side, {
        "_id": f"t_{days_ago}_{amount}", "kind": kind, "code": code, "amount": amount, "corrects_id": None,
        "pending_id": None, "created_at": AT - timedelta(days=days_ago),
    }  # fmt: skip


def account(limit: int, owed: int) -> dict[str, Any]:
    return {"limit": limit, "debits_pending": 0, "debits_posted": owed, "credits_posted": 0}


def deal(days_ago: float, amount: int = 100) -> Entry:
    return entry("debit", days_ago, amount)


def paid(days_ago: float, amount: int = 100) -> Entry:
    return entry("credit", days_ago, amount, "single", "payment")


def refunded(days_ago: float, amount: int = 100, of: int = 100) -> Entry:
    """Of the deal of so many days ago."""
    return "credit", {**entry("credit", 1, amount, "single", "refund")[1], "corrects_id": f"t_{days_ago}_{of}"}


def won(days_ago: float) -> list[Entry]:
    hold = {**entry("credit", 2, 100, "pending", "dispute")[1], "_id": "t_hold", "corrects_id": f"t_{days_ago}_100"}
    return [("credit", hold), ("credit", {**entry("credit", 1, 100, "post", "dispute")[1], "pending_id": "t_hold"})]


def moved(days_ago: float, amount: int) -> Entry:
    """To the credit balance."""
    return entry("debit", days_ago, amount, "single", "credit_balance")


LOST = entry("credit", 5, 100, "void", "dispute")


@pytest.mark.parametrize(
    ("given_account", "entries", "points", "score", "suggested"),
    [
        (account(500, 0), [], (), None, 500),
        (account(500, 0), [deal(60), paid(40)], (0, 0, 0), 100, 200),
        (account(500, 0), [deal(60), paid(20)], (0, 50, 0), 50, 100),
        (account(500, 100), [deal(20)], (0, 0, 0), 100, 0),
        (account(500, 100), [deal(40)], (0, 50, 0), 50, 0),
        (account(200, 150), [deal(20, 150)], (15, 0, 0), 85, 0),
        (account(100, 100), [deal(60), paid(40), deal(10)], (30, 0, 0), 70, 140),
        (account(500, 0), [deal(60), paid(40), deal(59), paid(39, 50), paid(10, 50)], (0, 12, 0), 88, 352),
        (account(500, 0), [deal(400), paid(10)], (0, 0, 0), 100, 200),
        (account(500, 0), [deal(60), paid(55), LOST], (0, 0, 20), 80, 160),
        (account(500, 0), [*[deal(60), paid(55)] * 10, LOST], (0, 0, 10), 90, 1800),
        (account(0, 100), [deal(20)], (30, 0, 0), 70, 0),
        (account(500, 0), [paid(70), deal(60)], (0, 0, 0), 100, 200),
        (account(500, 0), [deal(10), refunded(10)], (), None, 500),
        (account(500, 0), [deal(10), *won(10)], (), None, 500),
        (account(500, 0), [deal(60), refunded(60, 50), paid(40, 50)], (0, 0, 0), 100, 100),
        (account(500, 0), [deal(60), refunded(60, 50), paid(20, 50)], (0, 50, 0), 50, 50),
        (
            account(500, 0),
            [deal(60), paid(40), paid(39), moved(39, 100), paid(38), moved(38, 100)],
            (0, 0, 0),
            100,
            200,
        ),
        (
            account(500, 0),
            [deal(60), paid(50), deal(40), refunded(40), paid(30, 150), moved(30, 150)],
            (0, 0, 0),
            100,
            200,
        ),
        (account(500, 0), [deal(60), moved(50, 10), paid(20), moved(10, 40)], (0, 50, 0), 50, 60),
    ],
)
def test_the_table(
    given_account: Any, entries: list[Entry], points: tuple[int, ...], score: int | None, suggested: int
) -> None:
    found = assess(given_account, entries, AT)
    assert tuple(factor.points for factor in found.factors) == points
    assert (found.score, found.suggested_limit) == (score, suggested)
