"""How much work waits, as a metric of every process: a dead worker cannot say that nobody works."""

from __future__ import annotations

import asyncio
import logging

from models.jobs.actions import Jobs
from ops.metrics import JOBS_DEAD, JOBS_DUE, JOBS_OLDEST
from ops.tasks import end

log = logging.getLogger("parley.jobs")

COUNT_EVERY_S = 5.0


class Depth:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._counting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._counting = asyncio.create_task(self._count_forever(), name="depth of jobs")

    async def stop(self) -> None:
        await end(self._counting)

    async def _count_forever(self) -> None:
        while True:
            try:
                due, oldest_s, dead = await self._jobs.depth()
            except Exception as error:
                log.debug("jobs were not counted: %s", error)
            else:
                JOBS_DUE.set(due)
                JOBS_OLDEST.set(oldest_s)
                JOBS_DEAD.set(dead)
            await asyncio.sleep(COUNT_EVERY_S)
