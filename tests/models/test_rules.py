"""What a seller's rules say of an offer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rules.decision import Decision, decide

Json = dict[str, Any]


def rule(accept_at: int = 100, sku: str | None = None, **fields: Any) -> Json:
    return {
        "_id": f"r_{sku}", "sku": sku, "currency": "USD", "accept_at": accept_at, "decline_below": None,
        "counter": None, "rounds": 3, **fields,
    }  # fmt: skip


def offer(*prices: int, skus: tuple[str | None, ...] = (), rounds: int = 0, quantity: int = 2) -> Json:
    skus = skus or (None,) * len(prices)
    items = [
        {"sku": sku, "quantity": quantity, "total": {"amount": price * quantity}}
        for sku, price in zip(skus, prices, strict=True)
    ]
    history = [{"action": "counter", "rule_ids": ["r"]}] * rounds + [{"action": "counter", "rule_ids": None}]
    return {"total": {"currency": "USD"}, "items": items, "history": history}


MIDPOINT = {"kind": "midpoint", "floor": 60, "step": None}
STEP = {"kind": "step", "floor": 60, "step": 7}


@pytest.mark.parametrize(
    ("given_rules", "given_offer", "expected"),
    [
        ([rule()], offer(100), ("accept", [])),
        ([rule()], offer(99), None),
        ([rule()], offer(100, 99), None),
        ([rule(decline_below=50)], offer(100, 49), ("decline", [])),
        ([rule(decline_below=50)], offer(50), None),
        ([rule(counter=MIDPOINT)], offer(80), ("counter", [90])),
        ([rule(counter=MIDPOINT)], offer(81), ("counter", [91])),
        ([rule(counter=MIDPOINT)], offer(10), ("counter", [60])),
        ([rule(counter=STEP)], offer(80), ("counter", [87])),
        ([rule(counter=STEP)], offer(98), ("counter", [100])),
        ([rule(counter=STEP)], offer(1), ("counter", [60])),
        ([rule(counter=STEP)], offer(80, 120), ("counter", [87, 120])),
        ([rule(counter=STEP)], offer(80, rounds=2), ("counter", [87])),
        ([rule(counter=STEP)], offer(80, rounds=3), None),
        ([rule(sku="A")], offer(100, skus=("A",)), ("accept", [])),
        ([rule(sku="A")], offer(100, skus=("B",)), None),
        ([rule(sku="A")], offer(100, 100, skus=("A", None)), None),
        ([rule(200), rule(50, sku="A")], offer(60, skus=("A",)), ("accept", [])),
        ([rule(200), rule(50, sku="A")], offer(60, skus=("B",)), None),
        ([rule(currency="EUR")], offer(100), None),
        ([], offer(100), None),
    ],
)
def test_the_table(given_rules: list[Json], given_offer: Json, expected: tuple[str, list[int]] | None) -> None:
    decision = decide(given_offer, given_rules)
    assert (None if decision is None else (decision.action, decision.prices)) == expected


def test_a_price_that_only_rounds_up_is_not_accepted() -> None:
    odd = offer(100, quantity=3)
    odd["items"][0]["total"]["amount"] = 299
    assert decide(odd, [rule()]) is None


@given(
    st.integers(0, 1000), st.integers(1, 1000), st.integers(0, 1000), st.sampled_from(["midpoint", "step"]),
    st.integers(1, 500), st.one_of(st.none(), st.integers(0, 1000)),
)  # fmt: skip
def test_a_counter_is_never_under_the_floor_nor_over_what_would_be_accepted(
    price: int, accept_at: int, floor: int, kind: str, step: int, decline_below: int | None
) -> None:
    floor = min(floor, accept_at)
    counter = {"kind": kind, "floor": floor, "step": step if kind == "step" else None}
    low = None if decline_below is None else min(decline_below, accept_at)
    decision = decide(offer(price), [rule(accept_at, counter=counter, decline_below=low)])
    assert isinstance(decision, Decision)
    if price >= accept_at:
        assert decision.action == "accept"
    elif low is not None and price < low:
        assert decision.action == "decline"
    else:
        assert decision.action == "counter"
        assert max(floor, price) <= decision.prices[0] <= accept_at
        assert decision.prices[0] > price or price == accept_at
