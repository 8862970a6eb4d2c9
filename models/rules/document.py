"""The rule document.

    {_id, seller_id, sku, currency, accept_at, decline_below, counter: {kind, floor, step} | null,
     rounds, enabled, created_at, updated_at}

`_id` is made from the seller, the currency and the SKU, so that there is one for each; a rule without SKU is for all
items that have none of their own.
"""

from __future__ import annotations

import hashlib

import msgspec
from pymongo import IndexModel

from contract.rules import Counter, Rule
from contract.types import format_time
from storage.mongo import Document

INDEXES = {"offer_rules": [IndexModel([("seller_id", 1)])]}


def rule_id(seller_id: str, currency: str, sku: str | None) -> str:
    place = f"{seller_id}:{currency}:{'*' if sku is None else '=' + sku}"
    return f"r_{hashlib.sha256(place.encode()).hexdigest()[:24]}"


def to_rule(document: Document) -> Rule:
    return Rule(
        id=document["_id"],
        sku=document["sku"],
        currency=document["currency"],
        accept_at=document["accept_at"],
        decline_below=document["decline_below"],
        counter=msgspec.convert(document["counter"], Counter) if document["counter"] is not None else None,
        rounds=document["rounds"],
        enabled=document["enabled"],
        created_at=format_time(document["created_at"]),
        updated_at=format_time(document["updated_at"]),
    )
