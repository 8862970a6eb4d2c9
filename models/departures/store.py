"""The departures collection.

    {_id, conversation_id, user_ids, at}

Written before the people are taken out of the conversation, so `at` is a little earlier than that, and a change that
failed leaves a document all the same: who reads it looks at the conversation. Kept for minutes.
"""

from __future__ import annotations

from datetime import datetime

from pymongo import IndexModel

from models.context import new_id, now
from storage.mongo import Database, Document

INDEXES = {"departures": [IndexModel([("at", 1)])]}


class DepartureStore:
    def __init__(self, database: Database) -> None:
        self._departures = database.collection("departures")

    async def leaving(self, conversation_id: str, user_ids: list[str]) -> None:
        await self._departures.insert_one(
            {"_id": new_id("d"), "conversation_id": conversation_id, "user_ids": user_ids, "at": now()}
        )

    async def between(self, low: datetime, high: datetime) -> list[Document]:
        found: list[Document] = await self._departures.find({"at": {"$gte": low, "$lt": high}}).to_list(None)
        return found

    async def forget(self, before: datetime) -> None:
        await self._departures.delete_many({"at": {"$lt": before}})
