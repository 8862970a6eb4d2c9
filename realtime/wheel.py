"""One timer for everybody: pings, time-outs and deadlines of all connections share a wheel of slots.

A timer of its own would cost each connection a handle in the event loop's heap. Here `after` appends to a list, and the
loop wakes once per tick for all. Entries cannot be cancelled: whoever is called asks itself whether it is still meant.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("parley.engine")

TICK_S = 0.1


class TimerWheel:
    """`after` never calls early, and at most one tick (and what the loop is behind) late."""

    def __init__(self, tick_s: float = TICK_S) -> None:
        self.tick_s = tick_s
        self._slots: dict[int, list[Callable[[], object]]] = {}
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None

    def after(self, delay_s: float, callback: Callable[[], object]) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._turn = int(loop.time() / self.tick_s)
            self._timer = loop.call_later(self.tick_s, self._tick)
        due = int((asyncio.get_running_loop().time() + delay_s) / self.tick_s) + 1
        self._slots.setdefault(due, []).append(callback)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = int(loop.time() / self.tick_s)
        while self._turn < now:
            self._turn += 1
            for callback in self._slots.pop(self._turn, ()):
                try:
                    callback()
                except Exception:
                    log.exception("a timer's callback failed")
        self._timer = loop.call_later(self.tick_s, self._tick) if self._slots else None
