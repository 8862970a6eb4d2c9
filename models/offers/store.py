"""The offers collection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from storage.mongo import Again, Database, Document, Transaction

_LISTED = {"status": 1, "conversation_id": 1, "updated_at": 1, "expires_at": 1}
_COUNTED = {
    "status": 1, "expires_at": 1, "awaiting_user_id": 1, "history.action": 1, "history.by": 1, "history.at": 1,
    "history.rule_ids": 1,
}  # fmt: skip


class OfferStore:
    def __init__(self, database: Database) -> None:
        self._offers = database.collection("offers")

    async def find(self, offer_id: str, session: Transaction | None = None) -> Document | None:
        found: Document | None = await self._offers.find_one({"_id": offer_id}, session=session)
        return found

    async def insert(self, document: Document, session: Transaction) -> None:
        await self._offers.insert_one(document, session=session)

    async def step(self, document: Document, fields: dict[str, Any], step: Document, session: Transaction) -> None:
        """Compare and set on the version. Raises Again if someone was faster."""
        result = await self._offers.update_one(
            {"_id": document["_id"], "version": document["version"]},
            {"$set": fields, "$push": {"history": step}},
            session=session,
        )
        if not result.modified_count:
            raise Again

    async def of_party(self, user_id: str) -> list[Document]:
        """All of a user's offers, without what is in them."""
        found: list[Document] = await self._offers.find({"party_ids": user_id}, _LISTED).to_list(None)
        return found

    async def changed_since(self, user_id: str, since: datetime) -> list[Document]:
        """A user's offers, without what was on the table."""
        query = {"party_ids": user_id, "updated_at": {"$gte": since}}
        found: list[Document] = await self._offers.find(query, _COUNTED).to_list(None)
        return found

    async def find_many(self, offer_ids: Sequence[str]) -> dict[str, Document]:
        found = await self._offers.find({"_id": {"$in": list(offer_ids)}}).to_list(None)
        return {document["_id"]: document for document in found}

    async def with_open_hold(self) -> list[Document]:
        """The accepted ones that are settled by credit."""
        query = {"status": "accepted", "settlement": "credit"}
        found: list[Document] = await self._offers.find(query, {"hold_id": 1, "total": 1}).to_list(None)
        return found
