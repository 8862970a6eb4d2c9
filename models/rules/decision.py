"""What a seller's rules say of an offer. No I/O, and the same answer to the same offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from storage.mongo import Document


@dataclass(frozen=True, slots=True)
class Decision:
    """`prices`: of a counter-offer, the unit price of each item. `rule_ids`: by which rules."""

    action: Literal["accept", "decline", "counter"]
    rule_ids: list[str]
    prices: list[int]


def decide(offer: Document, rules: Sequence[Document]) -> Decision | None:
    currency = offer["total"]["currency"]
    by_sku = {rule["sku"]: rule for rule in rules if rule["currency"] == currency}
    chosen = [by_sku.get(item["sku"]) or by_sku.get(None) for item in offer["items"]]
    if any(rule is None for rule in chosen):
        return None
    pairs: list[tuple[Document, int]] = [
        (rule, _unit_price(item)) for rule, item in zip(chosen, offer["items"], strict=True) if rule is not None
    ]
    ids = list(dict.fromkeys(rule["_id"] for rule, _ in pairs))
    if all(price >= rule["accept_at"] for rule, price in pairs):
        return Decision("accept", ids, [])
    if any(rule["decline_below"] is not None and price < rule["decline_below"] for rule, price in pairs):
        return Decision("decline", ids, [])
    rounds = sum(step.get("rule_ids") is not None and step["action"] == "counter" for step in offer["history"])
    low = [(rule, price) for rule, price in pairs if price < rule["accept_at"]]
    if any(rule["counter"] is None or rounds >= rule["rounds"] for rule, _ in low):
        return None
    return Decision("counter", ids, [_counter(rule, price) for rule, price in pairs])


def _unit_price(item: Document) -> int:
    """What a unit comes to at this quantity, tiers included; rounded down, so nothing is accepted below its price."""
    total: int = item["total"]["amount"]
    return total // int(item["quantity"])


def _counter(rule: Document, price: int) -> int:
    if price >= rule["accept_at"]:
        return price
    how: dict[str, Any] = rule["counter"]
    wanted = -((price + rule["accept_at"]) // -2) if how["kind"] == "midpoint" else price + how["step"]
    return int(min(max(wanted, how["floor"]), rule["accept_at"]))
