"""What one connection sent and the server is still busy with, kept in order.

A packet that can be answered at once never comes here. One that must wait for something (the database) makes an inbox,
and what the connection sends meanwhile queues behind it, so that each command starts after the one before it was
answered. Commands declared to overlap are the exception: the next such command starts as soon as the one before has its
place in the order of things (`placed`), long before it is durable and answered. That is what lets one connection keep
many `chat:send` in flight and still have them numbered in the order in which it sent them.

A connection that sends faster than it is served is not read from until it has caught up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from realtime.pace import TURN_PACKETS

log = logging.getLogger("parley.engine")

Answer = TypeVar("Answer", covariant=True)
WAITING_MAX = 1_024
WAITING_BYTES_MAX = 524_288
OVERLAPPING_MAX = 64


@dataclass(slots=True)
class Overlapping(Generic[Answer]):
    """A command that later ones need not wait for, once `placed` is done. `placed` is done at its end in any case."""

    work: Coroutine[Any, Any, Answer]
    placed: asyncio.Future[None]


Work = Coroutine[Any, Any, None] | Overlapping[None]
Step = Work | None


class Owner(Protocol):
    """The session whose inbox this is."""

    inbox: Inbox | None

    def decode(self, data: str | bytes) -> Any: ...
    def overlaps(self, packet: Any) -> bool: ...
    def run(self, packet: Any) -> Step: ...
    def malformed(self, why: object) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Inbox:
    __slots__ = ("_bytes", "_changed", "_overlapping", "_owner", "_paused", "_task", "_waiting")

    def __init__(self, owner: Owner, step: Work) -> None:
        self._owner = owner
        self._waiting: deque[str | bytes] = deque()
        self._bytes = 0
        self._paused = False
        self._overlapping = 0
        self._changed: asyncio.Future[None] | None = None
        # A reference to the task, which the event loop alone would hold only weakly.
        self._task = asyncio.get_running_loop().create_task(self._serve(step))

    def add(self, data: str | bytes) -> None:
        self._waiting.append(data)
        self._bytes += len(data)
        if not self._paused and self.full:
            self._paused = True
            self._owner.pause_reading()
        self._wake()

    @property
    def full(self) -> bool:
        return len(self._waiting) > WAITING_MAX or self._bytes > WAITING_BYTES_MAX

    async def room(self) -> None:
        """Returns when the inbox is not full any more."""
        while self.full:
            await self._change()

    def discard(self) -> None:
        """The connection has ended: what was not begun is not begun."""
        self._waiting.clear()
        self._bytes = 0
        self._wake()

    async def _serve(self, step: Step) -> None:
        at_once = 0
        try:
            while True:
                if step is not None:
                    await self._take(step)
                    step = None
                elif self._waiting:
                    at_once += 1
                    if at_once % TURN_PACKETS == 0:  # none of them may have waited for anything
                        await asyncio.sleep(0)
                    step = await self._next()
                elif self._overlapping:
                    await self._change()
                else:
                    return
        except Exception as error:
            log.exception("serving a connection failed")
            self._owner.malformed(error)
        finally:
            self._owner.inbox = None

    async def _next(self) -> Step:
        data = self._waiting.popleft()
        self._bytes -= len(data)
        if not self.full:
            self._wake()  # a POST may wait for room
            if self._paused:
                self._paused = False
                self._owner.resume_reading()
        packet = self._owner.decode(data)
        if packet is None:
            return None
        if not self._owner.overlaps(packet):
            while self._overlapping:
                await self._change()
        return self._owner.run(packet)

    async def _take(self, step: Work) -> None:
        if not isinstance(step, Overlapping):
            await step
            return
        self._overlapping += 1
        task = asyncio.get_running_loop().create_task(step.work)
        task.add_done_callback(self._ended)
        await asyncio.wait((step.placed,))
        while self._overlapping >= OVERLAPPING_MAX:
            await self._change()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._overlapping -= 1
        self._wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a command failed outside its handler", exc_info=error)

    async def _change(self) -> None:
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._changed,))  # unlike a plain await, one waiter's end does not cancel it for another

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
