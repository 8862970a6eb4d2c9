"""Waiting: for tasks to end, and for what has no event of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

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


async def until(condition: Callable[[], object], within_s: float, every_s: float) -> bool:
    """Whether it came true in time. For what is seldom waited for, where an event would cost all the time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(every_s)
    return True
