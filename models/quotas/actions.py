"""Spends what may be done in a day, and counts what there may be.

What is done seldom and costs the database much anyway is spent there, exactly and at once (`spend`). What is done with
every message is not worth a round trip: it counts in memory, and each time a GRAIN of the limit has come together it is
added to what the database has, which also tells what other processes have added (`use`). So a process that dies, or a
second one, forgives a grain and no more.

A count (`take`, `give_back`) is written beside the change that it counts, not with it: a process that dies in between
leaves it too high, and two that take back the same leave it too low. So whoever finds a count at its cap has it counted
anew, at most once in RECOUNT_EVERY for each user; until then nothing depends on it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contract.errors import ParleyError
from contract.quotas import DAY_S, LIMITS, Daily, Most
from models.context import now
from models.quotas.document import Pace
from models.quotas.store import QuotaStore

log = logging.getLogger("parley.quotas")

GRAIN = 64  # of a day's amount, one part of so many
METERS_MAX = 100_000
ATTEMPTS_MAX = 20
RECOUNT_EVERY = timedelta(minutes=10)
# What was counted so long ago is there, or will not be.
COUNTED_WITHIN = timedelta(seconds=30)
# For one command: each recount looks at all that one user has.
RECOUNTS_MAX = 4

Count = Callable[[str], Awaitable[int]]


@dataclass(slots=True)
class _Meter:
    until: float = 0.0
    unsaved: int = 0


class Quotas:
    """`scale` multiplies what may be done in a day, and 0 turns that off. What there may be is the same everywhere."""

    def __init__(self, store: QuotaStore, scale: float) -> None:
        self._store = store
        self._paces = {limit.name: Pace(limit, scale) for limit in LIMITS if isinstance(limit, Daily) and scale}
        self._meters: OrderedDict[tuple[str, str], _Meter] = OrderedDict()
        self._due: dict[tuple[str, str], _Meter] = {}
        self._saving: asyncio.Task[None] | None = None

    # What may be done in a day

    async def spend(self, *amounts: tuple[Daily, str, int]) -> None:
        """(limit, key, how much). Raises rate_limited; then nothing is spent, unless someone else spends at the same
        moment: then perhaps those that come first."""
        paces = [(pace, key, amount) for limit, key, amount in amounts if (pace := self._paces.get(limit.name))]
        for pace, key, amount in paces:
            found = await self._store.find(pace.limit.name, key)
            _check(pace, found["until"].timestamp() if found is not None else 0.0, amount, time.time())
        for pace, key, amount in paces:
            await self._advance(pace, key, amount, checked=True)

    async def unspend(self, limit: Daily, key: str, amount: int) -> None:
        if (pace := self._paces.get(limit.name)) is not None:
            await self._advance(pace, key, -amount, checked=False)

    def use(self, amount: int, *limits: tuple[Daily, str]) -> None:
        """The same of several (limit, key) in memory: of all of them or, if it raises, of none."""
        at = time.time()
        moves: list[tuple[tuple[str, str], Pace, _Meter]] = []
        for limit, key in limits:
            if (pace := self._paces.get(limit.name)) is None:
                return
            meter = self._meter((limit.name, key))
            _check(pace, meter.until, amount, at)
            moves.append(((limit.name, key), pace, meter))
        for name, pace, meter in moves:
            meter.until = pace.after(meter.until, amount, at)
            meter.unsaved += amount
            if meter.unsaved * GRAIN >= pace.amount:
                self._due[name] = meter
        if self._due and self._saving is None:
            self._saving = asyncio.create_task(self._save(), name="quotas")

    async def stop(self) -> None:
        if self._saving is not None:
            await self._saving

    def _meter(self, name: tuple[str, str]) -> _Meter:
        meter = self._meters.get(name)
        if meter is None:
            meter = self._meters[name] = _Meter()
            if len(self._meters) > METERS_MAX:
                self._meters.popitem(last=False)
        else:
            self._meters.move_to_end(name)
        return meter

    async def _save(self) -> None:
        try:
            while self._due:
                (limit, key), meter = self._due.popitem()
                amount, meter.unsaved = meter.unsaved, 0
                try:
                    until = await self._advance(self._paces[limit], key, amount, checked=False)
                except Exception as error:  # it is due again with the next use
                    meter.unsaved += amount
                    log.warning("%s of %s is not written down yet: %s", limit, key, error)
                else:
                    meter.until = max(meter.until, until)
        finally:
            self._saving = None

    async def _advance(self, pace: Pace, key: str, amount: int, checked: bool) -> float:
        limit = pace.limit.name
        for _ in range(ATTEMPTS_MAX):
            found = await self._store.find(limit, key)
            seen: datetime | None = found["until"] if found is not None else None
            before, at = seen.timestamp() if seen is not None else 0.0, time.time()
            if checked:
                _check(pace, before, amount, at)
            until = pace.after(before, amount, at)
            if await self._store.move(limit, key, seen, datetime.fromtimestamp(until, UTC)):
                return until
        raise ParleyError("conflict")

    # What there may be

    async def take(self, limit: Most, caps: Mapping[str, int], count: Count, amount: int = 1) -> list[str]:
        """Counts so much more for each of these users. Returns those whose cap that would exceed: then it is for none.

        `count` tells how much somebody really has.
        """
        full = await self._store.add(limit.name, caps, amount, now())
        again: dict[str, int] = {}
        for user_id in full[:RECOUNTS_MAX]:
            if await self._recount(limit, user_id, caps[user_id] - amount, count):
                again[user_id] = caps[user_id]
        still = await self._store.add(limit.name, again, amount, now()) if again else []
        left = [user_id for user_id in full if user_id not in again or user_id in still]
        if left:
            await self.give_back(limit, {user_id: amount for user_id in caps if user_id not in left})
        return left

    async def give_back(self, limit: Most, amounts: Mapping[str, int]) -> None:
        await self._store.take_off(limit.name, amounts)

    async def _recount(self, limit: Most, user_id: str, most: int, count: Count) -> bool:
        """Whether there is room after all."""
        found = await self._store.find(limit.name, user_id)
        if found is None or found["count"] <= most:
            return True
        if found["at"] > now() - COUNTED_WITHIN:
            return False
        if "counted_at" in found and found["counted_at"] > now() - RECOUNT_EVERY:
            return False
        there = await count(user_id)
        return await self._store.recount(limit.name, user_id, found["count"], there, now()) and there <= most


def _check(pace: Pace, until: float, amount: int, at: float) -> None:
    if (wait_s := pace.wait_s(until, amount, at)) <= 0:
        return
    limit = pace.limit
    what = limit.doc.rstrip(".")
    raise ParleyError(
        "rate_limited", f"{what}: {pace.amount} a day, and there is no room for {amount} more yet.",
        details={
            "limit": limit.name, "amount": pace.amount, "per_s": DAY_S, "left": pace.left(until, at), "asked": amount,
        },
        retry_after_ms=int(wait_s * 1000) + 1,
    )  # fmt: skip
