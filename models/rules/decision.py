"""What a seller's rules say of an offer. No I/O, and the same answer to the same offer.

An offer is compared with what its rules name, and whatever a buyer can write into one is compared. What is not exactly
so is not priced, and is the seller's to answer.

`accept_at` is the seller's secret. It decides whether an offer is accepted and nothing else: every other answer is the
same whatever it is, so that neither one of them nor a row of them tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from storage.mongo import Document

Priced = list[tuple[Document, Document]]


@dataclass(frozen=True, slots=True)
class Decision:
    """`prices`: of a counter-offer, the unit price of each item. `rule_ids`: by which rules."""

    action: Literal["accept", "decline", "counter"]
    rule_ids: list[str]
    prices: list[int]


def decide(offer: Document, rules: Sequence[Document]) -> list[Decision]:
    """The answers in the order to try them, since the buyer's credit may not cover an acceptance.

    None of them: it is left to the seller.
    """
    priced = _priced(offer, rules)
    if not priced:
        return []
    other = _unless_accepted(offer, priced)
    answers = [other] if other is not None else []
    if all(_price(item) >= rule["accept_at"] for item, rule in priced):
        answers.insert(0, Decision("accept", _ids(priced), []))
    return answers


def _priced(offer: Document, rules: Sequence[Document]) -> Priced:
    """Each item with its rule; empty if there is anything in the offer that the rules do not name."""
    currency = offer["total"]["currency"]
    by_item = {_named(rule): rule for rule in rules if rule["enabled"] and rule["currency"] == currency}
    priced = [
        (item, rule) for item in offer["items"]
        if (rule := by_item.get(_named(item))) is not None and _covers(rule, item, offer)
    ]  # fmt: skip
    # An item that comes twice would be a quantity beyond the rule's.
    return priced if len(set(_ids(priced))) == len(offer["items"]) else []


def _covers(rule: Document, item: Document, offer: Document) -> bool:
    in_words = bool(offer["terms"] or offer["history"][-1]["note"])
    return (
        rule["quantity_min"] <= item["quantity"] <= rule["quantity_max"]
        and not item["tiers"]
        and rule["settlement"] in (offer["settlement"], "any")
        and (rule["terms"] or not in_words)
    )


def _unless_accepted(offer: Document, priced: Priced) -> Decision | None:
    """Must not look at `accept_at`."""
    offered = [_price(item) for item, _ in priced]
    if any(
        rule["decline_below"] is not None and price < rule["decline_below"]
        for price, (_, rule) in zip(offered, priced, strict=True)
    ):
        return Decision("decline", _ids(priced), [])
    earlier = [step for step in offer["history"] if step["action"] == "counter" and step["rule_ids"] is not None]
    if any(rule["counter"] is None or len(earlier) >= rule["rounds"] for _, rule in priced):
        return None
    asked = {_named(item): _price(item) for step in earlier for item in step["items"]}
    prices = [_counter(rule["counter"], _price(item), asked.get(_named(item))) for item, rule in priced]
    return Decision("counter", _ids(priced), prices) if prices != offered else None


def _counter(how: dict[str, Any], price: int, asked_before: int | None) -> int:
    asked: int = how["ask"] if asked_before is None else min(asked_before, how["ask"])
    wanted = -((price + asked) // -2) if how["kind"] == "midpoint" else asked - how["step"]
    return int(max(wanted, how["floor"], price))


def _ids(priced: Priced) -> list[str]:
    return [rule["_id"] for _, rule in priced]


def _named(what: Document) -> tuple[str | None, str, str | None]:
    """What an item or a rule names."""
    return what["sku"], what["title"], what["unit"]


def _price(item: Document) -> int:
    amount: int = item["unit_price"]["amount"]
    return amount
