"""What a seller's rules say of an offer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.offers import CreateOffer, Item
from models.rules.decision import decide
from models.rules.document import whole

Json = dict[str, Any]


def rule(accept_at: int = 100, sku: str | None = None, **fields: Any) -> Json:
    return {
        "_id": f"r_{sku}", "sku": sku, "title": "Beans", "unit": "kg", "currency": "USD", "accept_at": accept_at,
        "quantity_min": 1, "quantity_max": 10, "settlement": "credit", "terms": False, "decline_below": None,
        "counter": None, "rounds": 3, "enabled": True, **fields,
    }  # fmt: skip


def item(price: int, sku: str | None = None, **fields: Any) -> Json:
    money = {"amount": price, "currency": "USD"}
    return {"title": "Beans", "sku": sku, "unit": "kg", "quantity": 2, "unit_price": money, "tiers": [], **fields}


def step(action: str, items: list[Json], ruled: bool = False, note: str | None = None) -> Json:
    return {"action": action, "items": items, "note": note, "rule_ids": ["r"] if ruled else None}


def offer(*items: Json, asked: tuple[list[Json], ...] = (), note: str | None = None, **fields: Any) -> Json:
    """`asked`: what the rules have countered with before."""
    history = [step("create", list(items)), *(step("counter", each, ruled=True) for each in asked)]
    return {
        "total": {"currency": "USD"}, "items": list(items), "terms": None, "settlement": "credit",
        "history": [*history, step("counter", list(items), note=note)], **fields,
    }  # fmt: skip


def answers(given_offer: Json, *rules: Json) -> list[tuple[str, list[int]]]:
    return [(decision.action, decision.prices) for decision in decide(given_offer, rules)]


MIDPOINT = {"kind": "midpoint", "ask": 200, "floor": 120, "step": None}
STEP = {"kind": "step", "ask": 200, "floor": 120, "step": 30}
ACCEPT: tuple[str, list[int]] = ("accept", [])
TWO = (rule(sku="A", counter=STEP), rule(sku="B", counter=STEP))


@pytest.mark.parametrize(
    ("rules", "given_offer", "expected"),
    [
        ([rule()], offer(item(100)), [ACCEPT]),
        ([rule()], offer(item(99)), []),
        ([rule(decline_below=50)], offer(item(49)), [("decline", [])]),
        ([rule(decline_below=50)], offer(item(50)), []),
        ([rule(enabled=False)], offer(item(100)), []),
        ([rule(currency="EUR")], offer(item(100)), []),
        ([], offer(item(100)), []),
        # halfway from what was asked last, or from the asking price
        ([rule(counter=MIDPOINT)], offer(item(80)), [("counter", [140])]),
        ([rule(counter=MIDPOINT)], offer(item(81)), [("counter", [141])]),
        ([rule(counter=MIDPOINT)], offer(item(10)), [("counter", [120])]),
        ([rule(counter=MIDPOINT)], offer(item(90), asked=([item(170)],)), [("counter", [130])]),
        ([rule(counter=MIDPOINT)], offer(item(90), asked=([item(170)], [item(130)])), [("counter", [120])]),
        ([rule(counter=MIDPOINT)], offer(item(90), asked=([item(170, "other")],)), [("counter", [145])]),
        ([rule(counter=MIDPOINT)], offer(item(90), asked=([item(900)],)), [("counter", [145])]),
        ([rule(counter=STEP)], offer(item(80)), [("counter", [170])]),
        ([rule(counter=STEP)], offer(item(80), asked=([item(170)],)), [("counter", [140])]),
        ([rule(counter=STEP)], offer(item(80), asked=([item(170)], [item(140)])), [("counter", [120])]),
        ([rule(counter=STEP)], offer(item(80), asked=([item(170)],) * 3), []),
        # what an acceptance that the buyer's credit does not cover becomes
        ([rule(counter=STEP)], offer(item(110)), [ACCEPT, ("counter", [170])]),
        ([rule(counter=STEP)], offer(item(200)), [ACCEPT]),
        # several items
        (TWO, offer(item(100, "A"), item(100, "B")), [ACCEPT, ("counter", [170, 170])]),
        (TWO, offer(item(100, "A"), item(99, "B")), [("counter", [170, 170])]),
        (TWO, offer(item(190, "A"), item(99, "B")), [("counter", [190, 170])]),
        (TWO, offer(item(100, "A"), item(100, "C")), []),
        (TWO, offer(item(100, "A"), item(100, "A")), []),
        (TWO, offer(item(100, "A"), item(100, "A"), item(100, "B")), []),
        ([TWO[0], rule(sku="B")], offer(item(100, "A"), item(99, "B")), []),
        ([TWO[0], rule(sku="B", decline_below=50)], offer(item(100, "A"), item(49, "B")), [("decline", [])]),
        ([TWO[0], rule(sku="B", terms=True)], offer(item(100, "A"), item(100, "B"), terms="Mine"), []),
    ],
)  # fmt: skip
def test_the_table(rules: list[Json], given_offer: Json, expected: list[tuple[str, list[int]]]) -> None:
    assert answers(given_offer, *rules) == expected


TIER = {"min_quantity": 9, "unit_price": {"amount": 1, "currency": "USD"}}
# Each is an offer at a price that the rule takes, or would counter or decline if it were lower.
UNPRICED = {
    "another SKU": lambda price: offer(item(price, "C")),
    "no SKU": lambda price: offer(item(price)),
    "another title": lambda price: offer(item(price, "A", title="Gold bars, 1 kg")),
    "a title that only looks alike": lambda price: offer(item(price, "A", title="Веаns")),
    "a title in other letters": lambda price: offer(item(price, "A", title="BEANS")),
    "another unit": lambda price: offer(item(price, "A", unit="t")),
    "no unit": lambda price: offer(item(price, "A", unit=None)),
    "too few": lambda price: offer(item(price, "A", quantity=1)),
    "too many": lambda price: offer(item(price, "A", quantity=11)),
    "a million": lambda price: offer(item(price, "A", quantity=1_000_000)),
    "tiers": lambda price: offer(item(price, "A", tiers=[TIER])),
    "terms": lambda price: offer(item(price, "A"), terms="The seller pays the buyer"),
    "a note": lambda price: offer(item(price, "A"), note="Delivered to the moon"),
    "another settlement": lambda price: offer(item(price, "A"), settlement="none"),
    "another currency": lambda price: offer(item(price, "A"), total={"currency": "EUR"}),
    "one item more": lambda price: offer(item(price, "A"), item(price, "A", title="Gold bars, 1 kg")),
    "the item again": lambda price: offer(item(price, "A"), item(price, "A")),
}


@pytest.mark.parametrize("price", [10, 90, 150])
@pytest.mark.parametrize("name", UNPRICED)
def test_what_was_not_priced_is_left_to_the_seller(name: str, price: int) -> None:
    one = rule(sku="A", counter=MIDPOINT, decline_below=50, quantity_min=2)
    assert len(answers(offer(item(price, "A")), one)) > 0
    assert answers(UNPRICED[name](price), one) == []


def test_whoever_gives_an_offer_another_field_says_what_a_rule_makes_of_it() -> None:
    """A field that `decide` does not look at binds sellers to whatever buyers write there."""
    assert set(Item.__struct_fields__) == {"title", "quantity", "unit_price", "sku", "unit", "tiers"}
    assert set(CreateOffer.__struct_fields__) == {
        "conversation_id", "client_id", "side", "items", "settlement", "to_user_id", "terms", "note", "expires_in_s",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "given_offer"),
    [
        ({"settlement": "none"}, offer(item(100), settlement="none")),
        ({"settlement": "any"}, offer(item(100), settlement="none")),
        ({"settlement": "any"}, offer(item(100))),
        ({"terms": True}, offer(item(100), terms="Pick up", note="Thanks")),
        ({"terms": True}, offer(item(100))),
        ({}, offer(item(100), terms="", note="")),
        ({"unit": None}, offer(item(100, unit=None))),
        ({"quantity_min": 3, "quantity_max": 3}, offer(item(100, quantity=3))),
    ],
)
def test_what_a_rule_names_it_answers(fields: Json, given_offer: Json) -> None:
    assert answers(given_offer, rule(**fields)) == [ACCEPT]


def test_a_rule_of_the_old_form_answers_nothing() -> None:
    old: Json = {
        "_id": "r_1", "sku": "A", "currency": "USD", "accept_at": 100, "decline_below": 50, "rounds": 3,
        "counter": {"kind": "midpoint", "floor": 60, "step": None}, "enabled": True,
    }  # fmt: skip
    for sku in ("A", None):
        read = whole({**old, "sku": sku})
        for title in ("Beans", "None", ""):
            for price in (10, 90, 1_000):
                assert answers(offer(item(price, sku, title=title, unit=None, quantity=1)), read) == []
    assert whole(rule()) == rule()


PRICES = st.integers(0, 400)
COUNTERS = st.tuples(st.sampled_from(["midpoint", "step"]), PRICES, PRICES, st.integers(1, 100)).map(
    lambda drawn: {
        "kind": drawn[0], "floor": min(drawn[1:3]), "ask": max(drawn[1:3]),
        "step": drawn[3] if drawn[0] == "step" else None,
    }
)  # fmt: skip
SKUS = ("A", "B")


def haggle(rules: list[Json], bids: list[list[int]]) -> tuple[list[Any], list[Json]]:
    """(what a buyer without credit hears to these bids, one after the other; the counter-offers as items)."""
    heard: list[Any] = []
    asked: list[list[Json]] = []
    for bid in bids:
        given_offer = offer(*(item(price, sku) for price, sku in zip(bid, SKUS, strict=False)), asked=tuple(asked))
        said = [decision for decision in decide(given_offer, rules) if decision.action != "accept"]
        heard.append([(decision.action, decision.rule_ids, decision.prices) for decision in said])
        if said and said[0].action == "counter":
            asked.append([item(price, sku) for price, sku in zip(said[0].prices, SKUS, strict=False)])
    return heard, [each for items in asked for each in items]


@given(
    st.lists(st.tuples(COUNTERS | st.none(), PRICES, PRICES, PRICES | st.none()), min_size=1, max_size=2),
    st.lists(st.lists(PRICES, min_size=2, max_size=2), min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_no_answer_but_an_acceptance_tells_of_accept_at(
    drawn: list[tuple[Json | None, int, int, int | None]], bids: list[list[int]], rounds: int
) -> None:
    """Rules that differ in `accept_at` alone are the same to whoever is not accepted, through a whole haggle."""
    pair: list[list[Json]] = [[], []]
    for sku, (counter, one, other, low) in zip(SKUS, drawn, strict=False):
        most = 400 if counter is None else counter["floor"]
        for rules, accept_at in zip(pair, (one, other), strict=True):
            secret = min(accept_at, most)
            decline_below = None if low is None else min(low, one, other, most)
            rules.append(rule(secret, sku, counter=counter, rounds=rounds, decline_below=decline_below))
    bids = [bid[: len(drawn)] for bid in bids]
    assert haggle(pair[0], bids) == haggle(pair[1], bids)


@given(COUNTERS, PRICES, st.lists(PRICES, min_size=1, max_size=8))
def test_a_counter_asks_no_more_than_the_last_and_never_less_than_the_floor(
    counter: Json, accept_at: int, bids: list[int]
) -> None:
    accept_at = min(accept_at, counter["floor"])
    low = [[bid] for bid in bids if bid < accept_at]
    heard, asked = haggle([rule(accept_at, "A", counter=counter, rounds=20)], low)
    prices = [each["unit_price"]["amount"] for each in asked]
    assert len(prices) == len(low) == len(heard)
    assert prices == sorted(prices, reverse=True)
    assert all(counter["floor"] <= price <= counter["ask"] for price in prices)
