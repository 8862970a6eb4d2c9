"""The offers collection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from contract.offers import Status
from storage.mongo import Again, Database, Document, Transaction
from storage.newest import Place, newest

_LISTED = {"conversation_id": 1, "updated_at": 1, "expires_at": 1}
_COUNTED = {
    "status": 1, "updated_at": 1, "expires_at": 1, "awaiting_user_id": 1, "history.action": 1, "history.by": 1,
    "history.at": 1, "history.rule_ids": 1,
}  # fmt: skip


class OfferStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._offers = database.collection("offers")

    async def find(self, offer_id: str, tx: Transaction | None = None) -> Document | None:
        found: Document | None = await self._offers.find_one({"_id": offer_id}, session=tx)
        return found

    async def insert(self, document: Document, tx: Transaction) -> None:
        await self._offers.insert_one(document, session=tx)

    async def step(self, document: Document, fields: dict[str, Any], step: Document, tx: Transaction) -> None:
        """Compare and set on the version. Raises Again if someone was faster."""
        result = await self._offers.update_one(
            {"_id": document["_id"], "version": document["version"]},
            {"$set": fields, "$push": {"history": step}},
            session=tx,
        )
        if not result.modified_count:
            raise Again

    async def page(
        self, user_id: str, status: Status | None, conversation_id: str | None, at: datetime, limit: int,
        before: Place | None,
    ) -> list[Document]:  # fmt: skip
        """A user's offers that are in this state at that moment, newest change first, as `_LISTED`."""
        query = {"party_ids": user_id}
        if conversation_id is not None:
            query["conversation_id"] = conversation_id
        if status is not None:
            query["status"] = status
        overdue: list[Document] = []
        if status in ("pending", "expired"):
            overdue = await self._overdue(user_id, conversation_id, at)
        if status == "pending":
            found = await self._newest(query, limit + len(overdue), before)
            return [document for document in found if document["expires_at"] > at][:limit]
        merged = {document["_id"]: document for document in overdue if before is None or _place(document) < before}
        merged |= {document["_id"]: document for document in await self._newest(query, limit, before)}
        return sorted(merged.values(), key=_place, reverse=True)[:limit]

    async def _newest(self, query: Document, limit: int, before: Place | None) -> list[Document]:
        return await newest(self._database, "offers", query, limit, before=before, fields=_LISTED)

    async def _overdue(self, user_id: str, conversation_id: str | None, at: datetime) -> list[Document]:
        """Those that have expired without anybody having written it yet: as many as the workers are behind."""
        query = {"party_ids": user_id, "status": "pending", "expires_at": {"$lte": at}}
        found: list[Document] = await self._offers.find(query, _LISTED).to_list(None)
        return [document for document in found if conversation_id in (None, document["conversation_id"])]

    async def changed_since(self, user_id: str, since: datetime, limit: int) -> list[Document]:
        """A user's offers, without what was on the table, newest change first."""
        query = {"party_ids": user_id}
        return await newest(self._database, "offers", query, limit, since=since, fields=_COUNTED)

    async def find_many(self, offer_ids: Sequence[str]) -> dict[str, Document]:
        found = await self._offers.find({"_id": {"$in": list(offer_ids)}}).to_list(None)
        return {document["_id"]: document for document in found}

    async def with_open_hold(self) -> list[Document]:
        """The accepted ones that are settled by credit."""
        query = {"status": "accepted", "settlement": "credit"}
        found: list[Document] = await self._offers.find(query, {"hold_id": 1, "total": 1}).to_list(None)
        return found


def _place(document: Document) -> Place:
    return document["updated_at"], document["_id"]
