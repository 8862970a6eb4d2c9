"""The quotas collection. Every write is one document's compare-and-set; counts of many users go in one call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from models.quotas.document import quota_id
from storage.mongo import Database, Document

_DUPLICATE = 11000


class QuotaStore:
    def __init__(self, database: Database) -> None:
        self._quotas = database.collection("quotas")

    async def find(self, limit: str, key: str) -> Document | None:
        found: Document | None = await self._quotas.find_one({"_id": quota_id(limit, key)})
        return found

    async def move(self, limit: str, key: str, seen: datetime | None, until: datetime) -> bool:
        """False if someone else has moved it since it was seen."""
        if seen is not None:
            was = {"_id": quota_id(limit, key), "until": seen}
            return bool((await self._quotas.update_one(was, {"$set": {"until": until}})).matched_count)
        try:
            await self._quotas.insert_one({"_id": quota_id(limit, key), "until": until})
        except DuplicateKeyError:
            return False
        return True

    async def add(self, limit: str, caps: Mapping[str, int], amount: int, at: datetime) -> list[str]:
        """Counts so much more for each of these keys that stays within its cap; returns those that would not."""
        # Where there is no room, the upsert tries to insert what is there already, and is refused.
        more = {"$inc": {"count": amount}, "$set": {"at": at}}
        writes = [
            UpdateOne({"_id": quota_id(limit, key), "count": {"$lte": cap - amount}}, more, upsert=True)
            for key, cap in caps.items()
        ]
        try:
            if writes:
                await self._quotas.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if error.details["writeConcernErrors"] or any(failure["code"] != _DUPLICATE for failure in failures):
                raise
            return [list(caps)[failure["index"]] for failure in failures]
        return []

    async def take_off(self, limit: str, amounts: Mapping[str, int]) -> None:
        writes = [
            UpdateOne({"_id": quota_id(limit, key), "count": {"$gte": amount}}, {"$inc": {"count": -amount}})
            for key, amount in amounts.items()
        ]
        if writes:
            await self._quotas.bulk_write(writes, ordered=False)

    async def recount(self, limit: str, key: str, seen: int, count: int, at: datetime) -> bool:
        """False if it was counted on since it was seen."""
        was = {"_id": quota_id(limit, key), "count": seen}
        result = await self._quotas.update_one(was, {"$set": {"count": count, "counted_at": at}})
        return bool(result.matched_count)
