"""The notifications and notification_preferences collections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pymongo.errors import BulkWriteError, DuplicateKeyError

from storage.mongo import Database, Document

_DUPLICATE = 11000


class NotificationStore:
    def __init__(self, database: Database) -> None:
        self._notifications = database.collection("notifications")
        self._preferences = database.collection("notification_preferences")

    async def insert(self, documents: Sequence[Document]) -> list[Document]:
        """Stores those that are not there yet, and returns them."""
        try:
            await self._notifications.insert_many(list(documents), ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if any(failure["code"] != _DUPLICATE for failure in failures):
                raise
            there = {failure["index"] for failure in failures}
            return [document for index, document in enumerate(documents) if index not in there]
        return list(documents)

    async def existing(self, ids: Sequence[str]) -> set[str]:
        """Which of these there are."""
        found = await self._notifications.find({"_id": {"$in": list(ids)}}, {"_id": 1}).to_list(None)
        return {document["_id"] for document in found}

    async def of_user(self, user_id: str, up_to: datetime | None = None) -> list[Document]:
        """Newest first."""
        query: dict[str, object] = {"user_id": user_id}
        if up_to is not None:
            query["created_at"] = {"$lte": up_to}
        found: list[Document] = await self._notifications.find(query).to_list(None)
        found.sort(key=lambda document: (document["created_at"], document["_id"]), reverse=True)
        return found

    async def mark_read(self, user_id: str, ids: Sequence[str], at: datetime) -> None:
        await self._notifications.update_many(
            {"_id": {"$in": list(ids)}, "user_id": user_id, "read_at": None}, {"$set": {"read_at": at}}
        )

    async def forget(self, ids: Sequence[str]) -> None:
        await self._notifications.delete_many({"_id": {"$in": list(ids)}})

    async def muted_kinds(self, user_ids: Sequence[str]) -> dict[str, list[str]]:
        found = await self._preferences.find({"_id": {"$in": list(user_ids)}}).to_list(None)
        return {document["_id"]: document["muted_kinds"] for document in found}

    async def set_muted_kinds(self, user_id: str, kinds: list[str]) -> None:
        change = {"$set": {"muted_kinds": kinds}}
        try:
            await self._preferences.update_one({"_id": user_id}, change, upsert=True)
        except DuplicateKeyError:  # made by another request at the same moment
            await self._preferences.update_one({"_id": user_id}, change)
