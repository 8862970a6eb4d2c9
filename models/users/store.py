"""The users and login_attempts collections."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from contract.errors import ParleyError
from storage.mongo import Database, Document


class UserStore:
    def __init__(self, database: Database) -> None:
        self._users = database.collection("users")
        self._attempts = database.collection("login_attempts")

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

    async def change_password(self, user_id: str, before: Document, fields: dict[str, Any]) -> bool:
        """Compare and set: False if the password is another one than in `before` by now."""
        query = {"_id": user_id, "password_hash": before["password_hash"]}
        return bool((await self._users.update_one(query, {"$set": fields})).matched_count)

    async def disabled_of(self, user_ids: list[str]) -> list[str]:
        """Those of them that are disabled."""
        cursor = self._users.find({"_id": {"$in": user_ids}, "disabled": True}, {"_id": 1})
        return [found["_id"] for found in await cursor.to_list(None)]

    async def record_last_seen(self, seen: dict[str, datetime]) -> None:
        writes = [UpdateOne({"_id": user_id}, {"$max": {"last_seen_at": at}}) for user_id, at in seen.items()]
        await self._users.bulk_write(writes, ordered=False)

    async def presence_facts(self, user_ids: list[str]) -> dict[str, Document]:
        cursor = self._users.find({"_id": {"$in": user_ids}}, {"presence": 1, "last_seen_at": 1})
        return {found["_id"]: found for found in await cursor.to_list(None)}

    # Tries of passwords: one document for each account, or what somebody took for one

    async def attempts(self, account: str) -> Document | None:
        found: Document | None = await self._attempts.find_one({"_id": account})
        return found

    async def put_attempts(self, account: str, before: Document | None, record: Document) -> bool:
        """Compare and set: False if someone else changed it since `before` was read."""
        if before is None:
            try:
                await self._attempts.insert_one({**record, "_id": account, "version": 1})
            except DuplicateKeyError:
                return False
            return True
        result = await self._attempts.update_one(
            {"_id": account, "version": before["version"]}, {"$set": {**record, "version": before["version"] + 1}}
        )
        return bool(result.matched_count)

    async def sweep_attempts(self, at: datetime) -> None:
        await self._attempts.delete_many({"expires_at": {"$lt": at}})
