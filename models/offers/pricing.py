"""What an offer comes to: quantities times unit prices, by tiers. Whole minor units throughout."""

from __future__ import annotations

from collections.abc import Sequence

from contract.errors import invalid
from contract.money import TOTAL_MAX
from contract.offers import Item
from storage.mongo import Document


def price(items: Sequence[Item]) -> tuple[list[Document], Document]:
    """(the items with their totals, the total). All prices have one currency; raises validation_failed otherwise."""
    currency = items[0].unit_price.currency
    priced = [_price(item, f"items[{index}]", currency) for index, item in enumerate(items)]
    total = sum(item["total"]["amount"] for item in priced)
    if total > TOTAL_MAX:
        raise invalid("items", f"come to more than {TOTAL_MAX}")
    return priced, {"amount": total, "currency": currency}


def reprice(items: Sequence[Document], prices: Sequence[int]) -> tuple[list[Document], Document]:
    """The same items at other unit prices, without tiers."""
    currency = items[0]["unit_price"]["currency"]
    priced = [
        {
            **item, "unit_price": _money(unit, currency), "tiers": [],
            "total": _money(unit * item["quantity"], currency),
        }
        for item, unit in zip(items, prices, strict=True)
    ]  # fmt: skip
    return priced, _money(sum(item["total"]["amount"] for item in priced), currency)


def _price(item: Item, where: str, currency: str) -> Document:
    prices = [item.unit_price, *(tier.unit_price for tier in item.tiers)]
    if any(one.currency != currency for one in prices):
        raise invalid(f"{where}.unit_price", f"an offer has one currency, {currency} here")
    steps = [tier.min_quantity for tier in item.tiers]
    if steps != sorted(set(steps)):
        raise invalid(f"{where}.tiers", "must rise by min_quantity")
    reached = [tier.unit_price for tier in item.tiers if tier.min_quantity <= item.quantity]
    unit = reached[-1] if reached else item.unit_price
    return {
        "title": item.title, "sku": item.sku, "quantity": item.quantity, "unit": item.unit,
        "unit_price": _money(item.unit_price.amount, currency),
        "tiers": [
            {"min_quantity": tier.min_quantity, "unit_price": _money(tier.unit_price.amount, currency)}
            for tier in item.tiers
        ],
        "total": _money(unit.amount * item.quantity, currency),
    }  # fmt: skip


def _money(amount: int, currency: str) -> Document:
    return {"amount": amount, "currency": currency}
