"""How late the event loop is: what every client of this process waits on top of its own work."""

from __future__ import annotations

import asyncio
import math

EVERY_S = 0.1
SMOOTHED_OVER_S = 1.0
# One sample says no more than this: after a long stall, of a machine that slept perhaps, the loop is on time again.
SAMPLE_MAX_S = 1.0
WEIGHT = 1 - math.exp(-EVERY_S / SMOOTHED_OVER_S)


class LoopLag:
    """A timer measures its own lateness. `seconds` is smoothed: what was counts e times less after ten samples."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + EVERY_S
        self._timer = loop.call_at(self._due, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        late_s = min(max(0.0, asyncio.get_running_loop().time() - self._due), SAMPLE_MAX_S)
        self.seconds += WEIGHT * (late_s - self.seconds)
        self.start()
