"""The jobs collection. Taking, keeping and ending a job are compare-and-sets on what the worker saw of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from storage.mongo import Database, Document, Transaction

DUE_MAX = 200
COUNTED_MAX = 10_000


class JobStore:
    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")

    async def insert(self, document: Document, tx: Transaction) -> None:
        await self._jobs.insert_one(document, session=tx)

    async def insert_missing(self, document: Document) -> bool:
        """False if one of that id is there."""
        try:
            await self._jobs.insert_one(document)
        except DuplicateKeyError:
            return False
        return True

    async def due(self, at: datetime, kinds: Sequence[str]) -> list[tuple[str, datetime]]:
        """(id, run_at) of jobs of these kinds whose time has come."""
        query = {"state": "waiting", "run_at": {"$lte": at}, "kind": {"$in": list(kinds)}}
        found = await self._jobs.find(query, {"run_at": 1}).sort("run_at", 1).limit(DUE_MAX).to_list(None)
        return [(job["_id"], job["run_at"]) for job in found]

    async def depth(self, at: datetime) -> tuple[int, datetime | None, int]:
        """(how many are due, since when the first of them is, how many are dead); COUNTED_MAX at most are counted."""
        waiting = {"state": "waiting", "run_at": {"$lte": at}}
        due: int = await self._jobs.count_documents(waiting, limit=COUNTED_MAX)
        first = await self._jobs.find(waiting, {"run_at": 1}).sort("run_at", 1).limit(1).to_list(None)
        dead: int = await self._jobs.count_documents({"state": "dead"}, limit=COUNTED_MAX)
        return due, first[0]["run_at"] if first else None, dead

    async def take(self, job_id: str, run_at: datetime, until: datetime, worker: str) -> Document | None:
        """None if someone else was faster."""
        seen = {"_id": job_id, "run_at": run_at, "state": "waiting"}
        taken = {
            "$set": {"run_at": until, "worker": worker},
            "$inc": {"attempts": 1, "taken": 1},
            "$unset": {"again_at": ""},
        }
        if not (await self._jobs.update_one(seen, taken)).modified_count:
            return None
        found: Document | None = await self._jobs.find_one({"_id": job_id, "worker": worker})
        return found

    async def keep(self, job: Document, until: datetime) -> bool:
        """Whether it is still this worker's."""
        return await self._set(job, {"run_at": until})

    async def done(self, job: Document) -> bool:
        """False if it was asked for again meanwhile, or is someone else's by now."""
        own = {"_id": job["_id"], "taken": job["taken"], "again_at": None}
        return bool((await self._jobs.delete_one(own)).deleted_count)

    async def ask_again(self, job_id: str, run_at: datetime) -> bool:
        """Not before the latest moment that was asked for. False if it is not there."""
        return bool((await self._jobs.update_one({"_id": job_id}, {"$max": {"again_at": run_at}})).matched_count)

    async def asked_again(self, job: Document) -> None:
        """Done, and due again when it was asked for, if it was."""
        found = await self._jobs.find_one({"_id": job["_id"]}, {"again_at": 1})
        if found is not None and "again_at" in found:
            await self.again(job, found["again_at"])

    async def retry(self, job: Document, run_at: datetime, error: str) -> bool:
        return await self._set(job, {"run_at": run_at, "error": error, "worker": None})

    async def again(self, job: Document, run_at: datetime) -> bool:
        """Done, and due again at its next time."""
        return await self._set(job, {"run_at": run_at, "attempts": 0, "error": None, "worker": None})

    async def release(self, job: Document, at: datetime) -> bool:
        """Not done, and nobody's fault."""
        return await self._set(job, {"run_at": at, "attempts": job["attempts"] - 1, "worker": None})

    async def bury(self, job: Document, error: str) -> bool:
        return await self._set(job, {"state": "dead", "error": error, "worker": None})

    async def _set(self, job: Document, fields: dict[str, Any]) -> bool:
        own = {"_id": job["_id"], "taken": job["taken"], "state": "waiting"}
        return bool((await self._jobs.update_one(own, {"$set": fields})).matched_count)

    async def dead(self) -> list[Document]:
        """Oldest first."""
        found: list[Document] = await self._jobs.find({"state": "dead"}).to_list(None)
        return sorted(found, key=lambda job: (job["created_at"], job["_id"]))

    async def revive(self, job_id: str, at: datetime) -> bool:
        fresh = {"state": "waiting", "run_at": at, "attempts": 0, "error": None}
        return bool((await self._jobs.update_one({"_id": job_id, "state": "dead"}, {"$set": fresh})).modified_count)
