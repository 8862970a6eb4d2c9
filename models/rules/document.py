"""The rule document.

    {_id, seller_id, sku, title, unit, quantity_min, quantity_max, settlement, terms, currency, accept_at,
     decline_below, counter: {kind, ask, floor, step} | null, rounds, enabled, created_at, updated_at}

`_id` is made from the seller, the currency and the SKU, or the title where there is no SKU, so that there is one for
each.
"""

from __future__ import annotations

import hashlib

import msgspec
from pymongo import IndexModel

from contract.rules import Counter, Rule
from contract.types import format_time
from storage.mongo import Document

INDEXES = {"offer_rules": [IndexModel([("seller_id", 1)])]}


# What is read of a rule that was stored before rules named what they are for: its seller sees it, and nothing is
# answered by it. The counter goes because it was reckoned from another price.
_UNNAMED: Document = {
    "title": None, "unit": None, "quantity_min": 1, "quantity_max": 1, "settlement": "credit", "terms": False,
    "counter": None, "enabled": False,
}  # fmt: skip


def rule_id(seller_id: str, currency: str, sku: str | None, title: str) -> str:
    place = f"{seller_id}:{currency}:{'~' + title if sku is None else '=' + sku}"
    return f"r_{hashlib.sha256(place.encode()).hexdigest()[:24]}"


def whole(document: Document) -> Document:
    return document if "title" in document else {**document, **_UNNAMED}


def to_rule(document: Document) -> Rule:
    return Rule(
        id=document["_id"],
        sku=document["sku"],
        title=document["title"],
        unit=document["unit"],
        quantity_min=document["quantity_min"],
        quantity_max=document["quantity_max"],
        settlement=document["settlement"],
        terms=document["terms"],
        currency=document["currency"],
        accept_at=document["accept_at"],
        decline_below=document["decline_below"],
        counter=msgspec.convert(document["counter"], Counter) if document["counter"] is not None else None,
        rounds=document["rounds"],
        enabled=document["enabled"],
        created_at=format_time(document["created_at"]),
        updated_at=format_time(document["updated_at"]),
    )
