"""Requests take turns: of thousands that come at once, a few begin in each turn of the event loop.

The loop accepts and reads whatever is there, so a flood of connections would be answered in one turn of seconds, and
everybody who is connected would wait for its end. Those who wait take turns by address. And where requests are
refused again and again these answers come ever later, since a refusal costs as much as an answer; and so do sessions
and log-ins that begin there.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque

PER_TURN = 4
REFUSALS_PER_S = 5.0
REFUSALS_BURST = 100
BUSY_BURST = 5
BUSY_ADDRESSES = 10  # all addresses together may cause as many as so many of them, for BUSY_S at once
BUSY_S = 5.0
OVERDRAWN_MAX_S = 60.0
ADDRESSES_MAX = 20_000
BEGIN_WAIT_S = 10.0  # so long at most whatever begins at an address waits that was refused too much


class Turns:
    def __init__(self, per_turn: int = PER_TURN) -> None:
        self._per_turn = per_turn
        self._begun = 0  # in this turn of the loop
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by address, in the order of their turns

    async def take(self, address: str) -> None:
        """Returns when a request from there may begin: at once, unless there are many."""
        self._begun += 1
        loop = asyncio.get_running_loop()
        if self._begun == 1:
            loop.call_soon(self._next_turn)
        if self._begun > self._per_turn or self._waiting:
            turn = loop.create_future()
            self._waiting.setdefault(address, deque()).append(turn)
            await turn

    def _next_turn(self) -> None:
        self._begun = 0
        while self._waiting and self._begun < self._per_turn:
            address = next(iter(self._waiting))
            waiting = self._waiting.pop(address)
            turn = waiting.popleft()
            if waiting:
                self._waiting[address] = waiting  # behind all others
            if not turn.done():
                turn.set_result(None)
                self._begun += 1
        if self._waiting or self._begun:
            self._begun = max(1, self._begun)
            asyncio.get_running_loop().call_soon(self._next_turn)


class Refusals:
    """How long the answer to a refused request has to wait, by its address. `scale` multiplies how many an address may
    cause; 0: any number.

    An address may cause REFUSALS_BURST at once; while the process refuses much altogether, BUSY_BURST.
    """

    def __init__(self, scale: float) -> None:
        self._per_s = REFUSALS_PER_S * scale
        self._until: OrderedDict[str, float] = OrderedDict()  # when an address will have earned what it has spent
        self._all_until = -math.inf  # and all of them

    def note(self, address: str) -> float:
        """Seconds for one more, which has just been refused."""
        if not self._per_s or not address:
            return 0.0
        at = time.monotonic()
        self._all_until = max(self._all_until, at - BUSY_S) + 1 / (self._per_s * BUSY_ADDRESSES)
        self._all_until = min(self._all_until, at + OVERDRAWN_MAX_S)
        spent_until = max(self._until.get(address, -math.inf), at - REFUSALS_BURST / REFUSALS_PER_S)
        self._until[address] = min(spent_until + 1 / self._per_s, at + OVERDRAWN_MAX_S)
        self._until.move_to_end(address)
        if len(self._until) > ADDRESSES_MAX:
            self._until.popitem(last=False)
        return self.wait_s(address)

    def wait_s(self, address: str) -> float:
        """Seconds for whatever begins there, if it was refused too much."""
        if (until := self._until.get(address)) is None:
            return 0.0
        at = time.monotonic()
        unspent = (REFUSALS_BURST - BUSY_BURST) / REFUSALS_PER_S if self._all_until > at else 0.0
        return max(0.0, until + unspent - at)
