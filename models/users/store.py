"""The users and login_failures collections."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from contract.errors import ParleyError
from storage.mongo import Database, Document


class UserStore:
    def __init__(self, database: Database) -> None:
        self._users = database.collection("users")
        self._failures = database.collection("login_failures")

    async def insert(self, document: Document) -> None:
        try:
            await self._users.insert_one(document)
        except DuplicateKeyError:
            raise ParleyError("email_taken") from None

    async def find(self, user_id: str) -> Document | None:
        found: Document | None = await self._users.find_one({"_id": user_id})
        return found

    async def find_by_email(self, email_key: str) -> Document | None:
        found: Document | None = await self._users.find_one({"email_key": email_key})
        return found

    async def names(self, user_ids: Iterable[str]) -> dict[str, str]:
        """Names of those that exist."""
        cursor = self._users.find({"_id": {"$in": list(user_ids)}, "disabled": False}, {"name": 1})
        return {found["_id"]: found["name"] for found in await cursor.to_list(None)}

    async def change(self, user_id: str, fields: dict[str, Any]) -> Document | None:
        await self._users.update_one({"_id": user_id}, {"$set": fields})
        return await self.find(user_id)

    async def record_last_seen(self, seen: dict[str, datetime]) -> None:
        writes = [UpdateOne({"_id": user_id}, {"$max": {"last_seen_at": at}}) for user_id, at in seen.items()]
        await self._users.bulk_write(writes, ordered=False)

    async def presence_facts(self, user_ids: list[str]) -> dict[str, Document]:
        cursor = self._users.find({"_id": {"$in": user_ids}}, {"presence": 1, "last_seen_at": 1})
        return {found["_id"]: found for found in await cursor.to_list(None)}

    # Failed log-ins: one document per (account, address) and one per account

    async def failures(self, keys: list[str]) -> dict[str, Document]:
        return {found["_id"]: found for found in await self._failures.find({"_id": {"$in": keys}}).to_list(None)}

    async def add_failure(self, key: str, at: datetime, memory: timedelta) -> None:
        """Counts one more; an expired count starts again."""
        await self._failures.delete_one({"_id": key, "expires_at": {"$lt": at}})
        change = {"$inc": {"count": 1}, "$set": {"last_at": at, "expires_at": at + memory}}
        try:
            await self._failures.update_one({"_id": key}, change, upsert=True)
        except DuplicateKeyError:  # two first failures at once: the other made the document
            await self._failures.update_one({"_id": key}, change)

    async def clear_failures(self, key: str) -> None:
        await self._failures.delete_one({"_id": key})

    async def sweep_failures(self, at: datetime) -> None:
        await self._failures.delete_many({"expires_at": {"$lt": at}})
