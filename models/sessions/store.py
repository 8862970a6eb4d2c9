"""The sessions collection."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from models.sessions.document import SPENT_MAX
from storage.mongo import Database, Document


class SessionStore:
    def __init__(self, database: Database) -> None:
        self._sessions = database.collection("sessions")

    async def insert(self, document: Document) -> None:
        await self._sessions.insert_one(document)

    async def find(self, session_id: str) -> Document | None:
        found: Document | None = await self._sessions.find_one({"_id": session_id})
        return found

    async def live_of(self, user_id: str, at: datetime) -> list[Document]:
        """Newest first."""
        query = {"user_id": user_id, "revoked_at": None, "expires_at": {"$gt": at}}
        found: list[Document] = await self._sessions.find(query).to_list(None)
        return sorted(found, key=lambda session: session["created_at"], reverse=True)

    async def knows(self, user_id: str, device_id: str | None, network: str) -> tuple[bool, bool]:
        """Whether there is a log-in of this user, ended ones that are kept included, from this device, and network."""
        found = []
        for field, value in (("device.id", device_id), ("network", network)):
            query = {"user_id": user_id, field: value}
            found.append(value is not None and await self._sessions.find_one(query, {"_id": 1}) is not None)
        return found[0], found[1]

    async def live_among(self, session_ids: list[str], at: datetime) -> set[str]:
        query = {"_id": {"$in": session_ids}, "revoked_at": None, "expires_at": {"$gt": at}}
        return {found["_id"] for found in await self._sessions.find(query, {"_id": 1}).to_list(None)}

    async def set_credentials(self, session_id: str, credentials: int) -> None:
        await self._sessions.update_one({"_id": session_id}, {"$set": {"credentials": credentials}})

    async def rotate(self, session_id: str, old_hash: str, new_hash: str, fields: dict[str, Any]) -> bool:
        """Compare and set: of two uses of one token, exactly one returns True."""
        result = await self._sessions.update_one(
            {"_id": session_id, "refresh_hash": old_hash, "revoked_at": None},
            {
                "$set": {"refresh_hash": new_hash, **fields},
                "$push": {"spent_hashes": {"$each": [old_hash], "$slice": -SPENT_MAX}},
            },
        )
        return bool(result.modified_count)

    async def forget(self, before: datetime, at_most: int) -> int:
        """Deletes some of those that expired before that moment, in one bounded step. How many it were."""
        cursor = self._sessions.find({"expires_at": {"$lt": before}}, {"_id": 1}).limit(at_most)
        found = [session["_id"] for session in await cursor.to_list(None)]
        if found:
            await self._sessions.delete_many({"_id": {"$in": found}})
        return len(found)

    async def revoke(self, session_id: str, at: datetime) -> bool:
        """False when it was revoked already. It is kept as long as one that expired now."""
        change = {"$set": {"revoked_at": at, "expires_at": at}}
        result = await self._sessions.update_one({"_id": session_id, "revoked_at": None}, change)
        return bool(result.modified_count)
