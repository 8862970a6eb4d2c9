"""The payments collection, and the turns that payments of a user take."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from storage.mongo import Again, Database, Document, Transaction


class PaymentStore:
    def __init__(self, database: Database) -> None:
        self._payments = database.collection("payments")
        self._turns = database.collection("payment_turns")

    async def take_turn(self, user_id: str, tx: Transaction) -> None:
        """Of the transactions of a user that do this at once one commits, and the others are done again."""
        try:
            await self._turns.update_one({"_id": user_id}, {"$inc": {"count": 1}}, upsert=True, session=tx)
        except DuplicateKeyError as error:
            raise Again from error

    async def insert(self, document: Document, tx: Transaction) -> None:
        """Raises Again if it is there by now."""
        try:
            await self._payments.insert_one(document, session=tx)
        except DuplicateKeyError as error:
            raise Again from error

    async def find(self, identifier: str, tx: Transaction | None = None) -> Document | None:
        found: Document | None = await self._payments.find_one({"_id": identifier}, session=tx)
        return found

    async def pending(self, user_id: str, since: datetime, tx: Transaction) -> list[Document]:
        """Those begun after `since`."""
        query = {"user_id": user_id, "status": "pending", "created_at": {"$gt": since}}
        found: list[Document] = await self._payments.find(query, session=tx).to_list(None)
        return found

    async def change(
        self, payment: Document, fields: dict[str, Any], tx: Transaction | None = None
    ) -> Document | None:  # fmt: skip
        """Compare and set on the status. None if that is another by now."""
        seen = {"_id": payment["_id"], "status": payment["status"]}
        result = await self._payments.update_one(seen, {"$set": fields}, session=tx)
        return {**payment, **fields} if result.matched_count else None
