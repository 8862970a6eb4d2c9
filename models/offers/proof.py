"""Proves that offers and the ledger's holds belong together, from what is stored."""

from __future__ import annotations

from models.offers.store import OfferStore
from storage.mongo import Document


async def check_holds(store: OfferStore, holds: dict[str, Document]) -> list[str]:
    """What is wrong between these open holds, by id, and the offers."""
    problems = []
    accepted = {offer["hold_id"]: offer for offer in await store.with_open_hold()}
    for hold_id, hold in holds.items():
        if hold["code"] != "offer":
            continue
        offer = accepted.pop(hold_id, None)
        if offer is None:
            problems.append(f"hold {hold_id} is for offer {hold['about']['offer_id']}, which is not accepted")
        elif (offer["_id"], offer["total"]["amount"]) != (hold["about"]["offer_id"], hold["amount"]):
            problems.append(f"hold {hold_id} is not of offer {offer['_id']} or its total")
    for hold_id, offer in accepted.items():
        problems.append(f"offer {offer['_id']} is accepted, and its hold {hold_id} is not there")
    return problems
