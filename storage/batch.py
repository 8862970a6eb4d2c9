"""Group commit: writes that arrive while one is under way go to the database together.

A lone write goes at once and waits for nobody; under load a batch is what came during the previous one, so nothing is
delayed on purpose and the batch grows with the load. Each caller gets the outcome of its own write, after that write is
durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

BATCH_MAX = 256


class Batches(Generic[Item, Outcome]):
    """`write` returns an outcome for each item, in order: a value, or the exception that this item's caller gets.

    What `write` raises, all get. `size` weighs an item; a batch weighs at most BATCH_MAX, or is one item.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome | Exception]]],
        size: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        self._write = write
        self._size = size
        self._waiting: list[tuple[Item, asyncio.Future[Outcome]]] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Outcome:
        """Waits for this item's outcome. A caller that is cancelled does not undo its write."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._one(self._take())
        finally:
            self._task = None

    def _take(self) -> list[tuple[Item, asyncio.Future[Outcome]]]:
        count = weight = 0
        for item, _ in self._waiting:
            weight += self._size(item)
            if count and weight > BATCH_MAX:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _one(self, batch: list[tuple[Item, asyncio.Future[Outcome]]]) -> None:
        outcomes: Sequence[Outcome | Exception]
        try:
            outcomes = await self._write([item for item, _ in batch])
        except Exception as error:
            outcomes = [error] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
