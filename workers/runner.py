"""Does jobs: takes those that are due, a few at once, and sees each of them through.

Any number of runners share the collection. What one of them cannot do because the database is away is tried again by
itself; nothing here ends with an error.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from models.jobs.actions import LEASE_S, Jobs
from ops.metrics import JOB_SECONDS, JOBS
from ops.tasks import end
from storage.mongo import Document

log = logging.getLogger("parley.jobs")

Task = Callable[[dict[str, Any]], Awaitable[None]]
AT_ONCE = 16
LOOK_EVERY_S = 1.0
TIMEOUT_S = 300.0


class Runner:
    """`tasks`: what to do for each kind of job. Each must bear to be done twice. `schedule`: what is done every so many
    seconds, whether or not anybody asks.
    """

    def __init__(self, jobs: Jobs, tasks: Mapping[str, Task], schedule: Mapping[str, float] | None = None) -> None:
        self._jobs = jobs
        self._tasks = tasks
        self._schedule = schedule or {}
        self._name = secrets.token_hex(6)
        self._running: dict[asyncio.Task[None], Document] = {}
        self._free = asyncio.Semaphore(AT_ONCE)
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._jobs.schedule(self._schedule)
        self._looking = asyncio.create_task(self._look_forever(), name="jobs")

    async def stop(self, within_s: float = 3.0) -> None:
        """Takes no more, waits for what is being done, and gives back what does not end in time."""
        await end(self._looking)
        if self._running:
            await asyncio.wait(list(self._running), timeout=within_s)
        for task, job in list(self._running.items()):
            await end(task)
            await self._jobs.release(job)

    async def _look_forever(self) -> None:
        while True:
            self._jobs.news.clear()
            try:
                found = await self._look()
            except Exception as error:
                log.warning("cannot look for jobs, trying again: %s", error)
                found = False
            if not found:
                try:
                    async with asyncio.timeout(LOOK_EVERY_S * random.uniform(0.5, 1.0)):
                        await self._jobs.news.wait()
                except TimeoutError:
                    pass

    async def _look(self) -> bool:
        """Whether something was found and taken."""
        due = await self._jobs.due(list(self._tasks))
        taken = False
        random.shuffle(due)  # so that several runners do not all begin with the same
        for job_id, run_at in due:
            await self._free.acquire()
            try:
                job = await self._jobs.take(job_id, run_at, self._name)
            except BaseException:
                self._free.release()
                raise
            if job is None:
                self._free.release()
                continue
            taken = True
            task = asyncio.create_task(self._do(job), name=f"job {job['kind']}")
            self._running[task] = job
            task.add_done_callback(self._ended)
        return taken

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._free.release()

    async def _do(self, job: Document) -> None:
        kind, started = job["kind"], time.monotonic()
        keeping = asyncio.create_task(self._keep(job), name="job lease")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._tasks[kind](job["payload"])
            await self._jobs.done(job)
            outcome = "done"
        except Exception as error:
            outcome = await self._failed(job, error)
        finally:
            await end(keeping)
        JOBS.labels(kind, outcome).inc()
        JOB_SECONDS.labels(kind).observe(time.monotonic() - started)

    async def _failed(self, job: Document, error: Exception) -> str:
        try:
            dead = await self._jobs.failed(job, f"{type(error).__name__}: {error}")
        except Exception as again:
            log.warning("job %s failed, and that could not be written down: %s", job["_id"], again)
            return "lost"  # by this worker; it is due again when its lease is over
        if dead:
            log.error(
                "job %s (%s) failed %d times and is dead", job["_id"], job["kind"], job["attempts"], exc_info=error
            )
        else:
            log.warning("job %s (%s) failed, attempt %d: %s", job["_id"], job["kind"], job["attempts"], error)
        return "dead" if dead else "failed"

    async def _keep(self, job: Document) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            try:
                if not await self._jobs.keep(job):
                    log.warning("job %s was taken over while it was being done", job["_id"])
                    return
            except Exception as error:
                log.warning("cannot keep job %s: %s", job["_id"], error)
