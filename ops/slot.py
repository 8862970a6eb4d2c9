"""A slot of a formation: the place of one process, which is filled again whenever its process ends."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence

from ops.child import Child, Kind, say

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
STEADY_S = 60.0  # a process that lasted so long did not fail at its start
START_MAX_S = 120.0


class Slot:
    """`sockets`: the inherited descriptors of listening sockets. A slot without any has nothing to hand over."""

    def __init__(
        self, name: str, kind: Kind, env: dict[str, str], sockets: Sequence[int], stop_within_s: float,
        changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.ready = asyncio.Event()  # a process of it serves
        self.failed = asyncio.Event()  # its first process never did
        self._make = (name, kind, env, sockets, self._look)
        self._hands_over = bool(sockets)
        self._stop_within_s = stop_within_s
        self._changed = changed
        self._child: Child | None = None
        self._successor: Child | None = None  # while it starts, and until the process before it has ended
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    @property
    def _children(self) -> list[Child]:
        return [child for child in (self._child, self._successor) if child is not None]

    @property
    def serving(self) -> list[Child]:
        return [child for child in self._children if child.serves]

    def _look(self) -> None:
        if self.serving:
            self.ready.set()
        else:
            self.ready.clear()
        self._changed()

    async def replace(self) -> bool:
        """A new process for the one that is there; False if the new one does not get ready, and the old one stays.

        The new one is started first, and both accept from the same queue until the old one drains: so nobody waits.
        A worker has no queue, and may have a port of its own that only one can have: it drains first.
        """
        old = self._child
        if self._hands_over and old is not None and old.serves:
            return await self._hand_over(old)
        if old is not None:
            await old.drain(self._stop_within_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ready.wait(), START_MAX_S)
        return self.ready.is_set()

    async def _hand_over(self, old: Child) -> bool:
        successor = self._successor = await self._begin()
        if successor is None:
            return False
        if await successor.gets_ready(START_MAX_S):
            await old.drain(self._stop_within_s)
            return True
        await successor.drain(self._stop_within_s)
        say(f"the new process of {self.name} {successor.how()} before it was ready")
        if self._successor is successor:
            self._successor = None
        return False

    async def stop(self) -> bool:
        """Drains it for good; False if a process had to be killed, or failed."""
        self._stopping.set()
        children = self._children
        await asyncio.gather(*[child.drain(self._stop_within_s) for child in children])
        if self._task is not None:
            await self._task
        return all(child.left_well for child in children)

    async def _begin(self) -> Child | None:
        """None if the system does not give it a process, or its program cannot be run just now."""
        try:
            return await Child.start(*self._make)
        except (OSError, subprocess.SubprocessError) as error:
            say(f"{self.name} has no process: {error}")
            return None

    async def _keep(self) -> None:
        """Starts a process, and starts one again whenever it ends, or could not be started."""
        failures, ever_ready = 0, False
        while not self._stopping.is_set():
            child = self._successor or await self._begin()
            if child is not None:
                self._child, self._successor = child, None
                if self._stopping.is_set():
                    await child.drain(self._stop_within_s)
                await asyncio.wait([child.ended])
                self._child = None
                ever_ready = ever_ready or child.was_ready or child.told_to_go
            if self._stopping.is_set():
                return
            how = child.how() if child is not None else "could not be started"
            if not ever_ready:
                say(f"{self.name} {how} before it was ready")
                self.failed.set()
                return
            if child is not None and (child.told_to_go or self._successor is not None):
                if not child.left_well:
                    say(f"{self.name} {how}")
                continue
            lasted = child is not None and time.monotonic() - child.started > STEADY_S
            failures = 0 if lasted else failures + 1
            pause_s = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** max(0, failures - 1))
            say(f"{self.name} {how}; it is started again in {pause_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
