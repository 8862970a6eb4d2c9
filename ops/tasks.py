"""Ending tasks that run as long as the process."""

from __future__ import annotations

import asyncio

AGAIN_S = 0.05


async def end(*tasks: asyncio.Task[None] | None) -> None:
    """Cancels them and returns when they have ended, however they did.

    Again and again: redis-py waits by `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that comes as
    its wait is over, and the task goes on as if nothing had been said.
    """
    running = {task for task in tasks if task is not None}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_S)
