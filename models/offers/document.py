"""The offer document.

    {_id, conversation_id, party_ids: [buyer_id, seller_id], buyer_id, seller_id, status, version, created_by,
     awaiting_user_id, items: [ITEM], total: MONEY, terms, settlement, expires_at, hold_id, captured, history: [STEP],
     created_at, updated_at}
    STEP = {version, action, by, rule_ids, items, total, terms, note, at, expires_at}

`history` has every step with what was on the table after it, so an offer as it was at any version can be made again:
a repeated command gets what its first time got. An offer whose `expires_at` has passed is expired whether or not
anybody has written that yet.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pymongo import IndexModel

from contract.money import Money
from contract.offers import HistoryStep, Offer, OfferState, OfferUpdate, PricedItem, PricedTier, Status
from contract.types import format_time
from models.offers.machine import after
from storage.mongo import Document

# One for each way in which a list may be narrowed, see `storage.newest`.
_NARROWED: tuple[tuple[str, ...], ...] = ((), ("status",), ("conversation_id",), ("conversation_id", "status"))
INDEXES = {
    "offers": [
        *(IndexModel([(name, 1) for name in ("party_ids", *by, "updated_at", "_id")]) for by in _NARROWED),
        IndexModel([("party_ids", 1), ("status", 1), ("expires_at", 1)]),
    ]
}


def status_at(document: Document, at: datetime) -> Status:
    """Its state, an expiry that nobody has written included."""
    if document["status"] == "pending" and document["expires_at"] <= at:
        return "expired"
    status: Status = document["status"]
    return status


def other_party(document: Document, user_id: str) -> str:
    first, second = document["party_ids"]
    other: str = second if user_id == first else first
    return other


def as_of(document: Document, version: int) -> Document:
    """The offer as it was when it had that version."""
    if version >= document["version"]:
        return document
    history = document["history"][:version]
    last = history[-1]
    status = after(last["action"])
    return {
        **document, "version": version, "history": history, "status": status, "items": last["items"],
        "total": last["total"], "terms": last["terms"], "expires_at": last["expires_at"], "updated_at": last["at"],
        "awaiting_user_id": other_party(document, last["by"]) if status == "pending" else None,
        "hold_id": document["hold_id"] if status == "accepted" else None, "captured": None,
    }  # fmt: skip


def to_offer(document: Document, at: datetime) -> Offer:
    return Offer(**_state(document, at), history=[_step(step) for step in document["history"]])


def to_update(document: Document, at: datetime) -> OfferUpdate:
    """What both parties are told of its last step."""
    return OfferUpdate(offer=OfferState(**_state(document, at)), step=_step(document["history"][-1]))


def _state(document: Document, at: datetime) -> dict[str, Any]:
    """The fields of an OfferState."""
    status = status_at(document, at)
    return {
        "id": document["_id"],
        "conversation_id": document["conversation_id"],
        "status": status,
        "version": document["version"],
        "buyer_id": document["buyer_id"],
        "seller_id": document["seller_id"],
        "created_by": document["created_by"],
        "awaiting_user_id": document["awaiting_user_id"] if status == "pending" else None,
        "items": [_item(item) for item in document["items"]],
        "total": _money(document["total"]),
        "terms": document["terms"],
        "settlement": document["settlement"],
        "expires_at": format_time(document["expires_at"]),
        "hold_id": document["hold_id"],
        "captured": _money(document["captured"]) if document["captured"] is not None else None,
        "created_at": format_time(document["created_at"]),
        "updated_at": format_time(document["updated_at"]),
    }


def _step(step: Document) -> HistoryStep:
    return HistoryStep(
        version=step["version"],
        action=step["action"],
        by=step["by"],
        items=[_item(item) for item in step["items"]],
        total=_money(step["total"]),
        terms=step["terms"],
        note=step["note"],
        rule_ids=step["rule_ids"],
        at=format_time(step["at"]),
    )


def _item(item: Document) -> PricedItem:
    return PricedItem(
        title=item["title"],
        sku=item["sku"],
        quantity=item["quantity"],
        unit=item["unit"],
        unit_price=_money(item["unit_price"]),
        tiers=[
            PricedTier(min_quantity=tier["min_quantity"], unit_price=_money(tier["unit_price"]))
            for tier in item["tiers"]
        ],
        total=_money(item["total"]),
    )


def _money(money: Document) -> Money:
    return Money(amount=money["amount"], currency=money["currency"])
