"""The disputes collection."""

from __future__ import annotations

from typing import Any

from storage.mongo import Database, Document, Transaction


class DisputeStore:
    def __init__(self, database: Database) -> None:
        self._disputes = database.collection("disputes")

    async def find(self, identifier: str, tx: Transaction) -> Document | None:
        found: Document | None = await self._disputes.find_one({"_id": identifier}, session=tx)
        return found

    async def insert(self, document: Document, tx: Transaction) -> None:
        await self._disputes.insert_one(document, session=tx)

    async def change(self, identifier: str, fields: dict[str, Any], tx: Transaction) -> None:
        await self._disputes.update_one({"_id": identifier}, {"$set": fields}, session=tx)
