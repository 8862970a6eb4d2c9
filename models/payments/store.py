"""The payments collection."""

from __future__ import annotations

from typing import Any

from pymongo.errors import DuplicateKeyError

from storage.mongo import Database, Document, Transaction


class PaymentStore:
    def __init__(self, database: Database) -> None:
        self._payments = database.collection("payments")

    async def insert(self, document: Document) -> bool:
        """False if it is there already."""
        try:
            await self._payments.insert_one(document)
        except DuplicateKeyError:
            return False
        return True

    async def find(self, identifier: str, session: Transaction | None = None) -> Document | None:
        found: Document | None = await self._payments.find_one({"_id": identifier}, session=session)
        return found

    async def change(
        self, payment: Document, fields: dict[str, Any], session: Transaction | None = None
    ) -> Document | None:  # fmt: skip
        """Compare and set on the status. None if that is another by now."""
        seen = {"_id": payment["_id"], "status": payment["status"]}
        result = await self._payments.update_one(seen, {"$set": fields}, session=session)
        return {**payment, **fields} if result.matched_count else None
