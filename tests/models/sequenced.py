"""A sequencer's client, and a loop that does not wait for time to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from realtime.ordering import Sequencer

KEY = "c_1"


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeps by moving its clock: a hold of 0.3 s costs nothing, and ends at 0.3 s exactly."""

    _moved = 0.0

    def time(self) -> float:
        return self._moved

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        whens = [handle.when() for handle in scheduled if not handle.cancelled()]
        if not ready and whens:
            self._moved = max(self._moved, min(whens))
        super()._run_once()  # type: ignore[misc]


class Others:
    behind = False
    away = False


THERE = Others()


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


class Client:
    """What a connection behind the sequencer got, and when."""

    def __init__(self, sequencer: Sequencer) -> None:
        self.sequencer = sequencer
        self.seen: list[int] = []
        self.at: dict[int, float] = {}
        self.late: list[int] = []

    def deliver(self, seq: int) -> Callable[[bool], None]:
        def deliver(in_order: bool) -> None:
            if not in_order:
                self.late.append(seq)
                return
            self.seen.append(seq)
            self.at[seq] = asyncio.get_running_loop().time()

        return deliver

    def hear(self, seq: int, settled: bool = False, key: str = KEY) -> None:
        self.sequencer.accept(key, seq, settled, self.deliver(seq))
