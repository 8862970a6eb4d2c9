"""Work that follows from a change: written in the change's own transaction, done by whichever worker comes first.

    written --its time comes--> taken --done--> gone
                                taken --failed--> waits, longer each time --> taken … ATTEMPTS_MAX times --> dead
                                taken --its worker died, after LEASE_S--> due again
    dead --an operator replays it--> due

A job may be done twice, by a worker that was slow and by the one that took over, so what it does must bear that. Why
this is not a queue in Redis: docs/decisions/0020.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from contract import admin
from contract.errors import ParleyError
from models.context import Actions, Context, new_id, now
from models.jobs.document import ERROR_CHARS, new_job, to_job
from models.jobs.store import JobStore
from models.paging import decode_cursor, encode_cursor
from realtime.bus import Bus
from storage.mongo import Document, Transaction

LEASE_S = 15.0
ATTEMPTS_MAX = 8
# A job that was taken so often and never failed has killed whoever took it.
DEATHS_MAX = 10
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 300.0
SCHEDULED = "schedule:"  # begins the ids of jobs that come again and again


class Jobs:
    """`news` is set when there may be something to do."""

    def __init__(self, store: JobStore, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self.news = asyncio.Event()
        bus.subscribe("jobs_added", self._hear)

    # For other nouns

    def actions(self) -> Actions:
        return {
            admin.DEAD_JOBS: self.list_dead,
            admin.REPLAY_JOB: self.replay,
        }

    async def add(
        self, kind: str, payload: dict[str, Any], tx: Transaction, run_at: datetime | None = None
    ) -> None:  # fmt: skip
        """Part of the caller's transaction. `announce` after it, if the job need not wait for its time."""
        at = now()
        await self._store.insert(new_job(new_id("j"), kind, payload, run_at or at, at), tx)

    async def ensure(self, identifier: str, kind: str, payload: dict[str, Any], run_at: datetime) -> None:
        """There is one job of this id, and it begins after this call: one that is being done is done once more, not
        before `run_at`; one that waits keeps its time, and one that had died lives again."""
        while not await self._store.insert_missing(new_job(identifier, kind, payload, run_at, now())):
            if await self._store.ask_again(identifier, run_at):
                await self._store.revive(identifier, run_at)
                return

    async def announce(self) -> None:
        await self._bus.publish("jobs_added", {})

    async def _hear(self, data: dict[str, Any]) -> None:
        self.news.set()

    # For workers

    async def due(self, kinds: Sequence[str]) -> list[tuple[str, datetime]]:
        """Of other kinds a newer version knows: they wait for a worker of it."""
        return await self._store.due(now(), kinds)

    async def depth(self) -> tuple[int, float, int]:
        """(how many are due, for how many seconds the first of them has been, how many are dead)."""
        at = now()
        due, since, dead = await self._store.depth(at)
        return due, (at - since).total_seconds() if since is not None else 0.0, dead

    async def take(self, job_id: str, run_at: datetime, worker: str) -> Document | None:
        job = await self._store.take(job_id, run_at, now() + timedelta(seconds=LEASE_S), worker)
        if job is not None and job["attempts"] > DEATHS_MAX and not job["_id"].startswith(SCHEDULED):
            await self._store.bury(job, "the workers that had it died")
            return None
        return job

    async def keep(self, job: Document) -> bool:
        """Still at it. False if someone else has it by now."""
        return await self._store.keep(job, now() + timedelta(seconds=LEASE_S))

    async def done(self, job: Document) -> None:
        every_s = job["payload"].get("every_s")
        if every_s is None:
            if not await self._store.done(job):
                await self._store.asked_again(job)
        else:
            await self._store.again(job, now() + timedelta(seconds=every_s))

    async def schedule(self, kinds: Mapping[str, float]) -> None:
        """Work that is done every so many seconds, by one of all workers. It fails like any other, and never dies."""
        for kind, every_s in kinds.items():
            at = now()
            await self._store.insert_missing(new_job(f"{SCHEDULED}{kind}", kind, {"every_s": every_s}, at, at))

    async def release(self, job: Document) -> None:
        await self._store.release(job, now())

    async def failed(self, job: Document, error: str) -> bool:
        """It is tried again later, or never: then this returns True."""
        error = error[:ERROR_CHARS]
        if job["attempts"] >= ATTEMPTS_MAX and not job["_id"].startswith(SCHEDULED):
            return await self._store.bury(job, error)
        wait_s = min(BACKOFF_FIRST_S * 2.0 ** min(job["attempts"] - 1, 16), BACKOFF_MAX_S) * random.uniform(0.5, 1.5)
        await self._store.retry(job, now() + timedelta(seconds=wait_s), error)
        return False

    # For operators

    async def dead(self) -> list[Document]:
        return await self._store.dead()

    async def revive(self, job_id: str) -> bool:
        revived = await self._store.revive(job_id, now())
        if revived:
            await self.announce()
        return revived

    async def list_dead(self, context: Context, payload: admin.ListJobs) -> admin.JobList:
        after = decode_cursor(payload.cursor, tuple[str, str]) if payload.cursor else None
        found = [to_job(job) for job in await self._store.dead()]
        rest = [job for job in found if after is None or (job.created_at, job.id) > after]
        page = rest[: payload.limit]
        more = encode_cursor([page[-1].created_at, page[-1].id]) if len(rest) > len(page) else None
        return admin.JobList(items=page, next_cursor=more)

    async def replay(self, context: Context, payload: admin.JobTarget) -> None:
        if not await self.revive(payload.job_id):
            raise ParleyError("not_found", "There is no dead job of that id.")
