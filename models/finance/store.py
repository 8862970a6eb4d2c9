"""The disputes collection."""

from __future__ import annotations

from typing import Any

from storage.mongo import Database, Document, Transaction


class DisputeStore:
    def __init__(self, database: Database) -> None:
        self._disputes = database.collection("disputes")

    async def find(self, identifier: str, session: Transaction) -> Document | None:
        found: Document | None = await self._disputes.find_one({"_id": identifier}, session=session)
        return found

    async def insert(self, document: Document, session: Transaction) -> None:
        await self._disputes.insert_one(document, session=session)

    async def change(self, identifier: str, fields: dict[str, Any], session: Transaction) -> None:
        await self._disputes.update_one({"_id": identifier}, {"$set": fields}, session=session)
