"""How many passwords may be tried for an account, and how fast.

Each try is counted before the password is looked at, in one compare-and-set on the account's record, so that a thousand
at once are no more than a thousand one after the other. Who gets it right is forgiven the try.

Tries are counted by *lane*. Those from an address have its lane and, together with all other strangers, the account's:
five are free and then each doubles the wait, from one second to fifteen minutes; in all fifty are free, so that many
addresses do not help a guesser. A device or an address on which this account has a log-in, and a caller who is logged
in, have a lane of their own only: guesses of others never lock the owner out. Counts are in the database, for all
processes and restarts, and fade an hour after the last try. docs/decisions/0006.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

from contract.errors import ParleyError
from models.users.store import UserStore
from ops.metrics import LOGIN_TRIES
from storage.mongo import Document

FREE_IN_LANE = 5
FREE_TO_STRANGERS = 50
WAIT_MAX = timedelta(minutes=15)
MEMORY = timedelta(hours=1)
SWEEP_EVERY = 100
WAITING_MAX = 100  # for their turn at one account's record, in this process
TOLD_MAX = 10_000
REREADS_MAX = 20
BUSY_RETRY_MS = 1_000


def wait_after(tries: int, free: int) -> timedelta:
    """How long after the last of so many tries the next one may come."""
    if tries < free:
        return timedelta(0)
    return min(timedelta(seconds=2 ** min(tries - free, 20)), WAIT_MAX)


@dataclass(frozen=True, slots=True)
class Lane:
    """`known`: it belongs to the account's owner, as far as one can tell; others' tries do not count there."""

    name: str
    known: bool


def account_key(email_key: str) -> str:
    return sha256(email_key.encode()).hexdigest()[:32]


def lane(kind: str, value: str | None, known: bool) -> Lane:
    """Named by a hash: it becomes the name of a field, and the record tells nothing of anybody's address."""
    return Lane(sha256(f"{kind}:{value}".encode()).hexdigest()[:24], known)


class LoginAttempts:
    def __init__(self, store: UserStore) -> None:
        self._store = store
        self._since_sweep = 0
        self._told: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._waiting: Counter[tuple[str, str]] = Counter()

    def refuse_early(self, account: str, asker: str, at: datetime) -> None:
        """Raises account_locked while the time lasts that this asker was told in this process, without a question to
        the database: who guesses on all the same costs nothing more."""
        until = self._told.get((account, asker))
        if until is not None and until > at:
            LOGIN_TRIES.labels("refused").inc()
            raise _locked(until - at)

    def told(self, account: str, asker: str, wait_ms: int, at: datetime) -> None:
        """This asker was refused for so long; what stands for it, whatever lane it came by."""
        self._told[account, asker] = at + timedelta(milliseconds=wait_ms)
        self._told.move_to_end((account, asker))
        if len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)

    async def begin(self, account: str, lane: Lane, at: datetime) -> None:
        """Counts a try that is about to be made. Raises account_locked with the time to wait."""

        def count(record: Document) -> None:
            counts = _counts(record, lane, at)
            wait = max(one["last_at"] + wait_after(one["count"], free) - at for one, free in counts)
            if wait > timedelta(0):
                LOGIN_TRIES.labels("refused").inc()
                raise _locked(wait)
            for one, _ in counts:
                one["count"] += 1
                one["last_at"] = at

        await self._change(account, lane, at, count)
        LOGIN_TRIES.labels("counted").inc()
        self._since_sweep += 1
        if self._since_sweep >= SWEEP_EVERY:  # what guessing leaves behind is cleared by guessing
            self._since_sweep = 0
            await self._store.sweep_attempts(at)

    async def forgive(self, account: str, lane: Lane, at: datetime, whole_lane: bool) -> None:
        """The try was right, which forgives the lane all others, or was not made after all."""

        def give_back(record: Document) -> None:
            for one, _ in _counts(record, lane, at):
                one["count"] = max(0, one["count"] - 1)
            if whole_lane:
                record["lanes"].pop(lane.name, None)

        await self._change(account, lane, at, give_back)

    async def _change(self, account: str, lane: Lane, at: datetime, change: Any) -> None:
        async with self._turn(account, lane):
            for _ in range(REREADS_MAX):
                found = await self._store.attempts(account)
                record = _current(found, at)
                change(record)
                record["expires_at"] = at + MEMORY
                if await self._store.put_attempts(account, found, record):
                    return
        raise ParleyError("unavailable", retry_after_ms=BUSY_RETRY_MS)

    @asynccontextmanager
    async def _turn(self, account: str, lane: Lane) -> AsyncIterator[None]:
        """One after the other, since each would make all others read again; strangers apart from the owner."""
        key = account, lane.name if lane.known else ""
        if self._waiting[key] >= WAITING_MAX:
            LOGIN_TRIES.labels("refused").inc()
            raise ParleyError("account_locked", retry_after_ms=BUSY_RETRY_MS)
        turn = self._turns.setdefault(key, asyncio.Lock())
        self._waiting[key] += 1
        try:
            async with turn:
                yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]


def _locked(wait: timedelta) -> ParleyError:
    return ParleyError("account_locked", retry_after_ms=int(wait.total_seconds() * 1000) + 1)


def _current(found: Document | None, at: datetime) -> Document:
    """What still counts of the record."""
    lanes = found.get("lanes", {}) if found is not None else {}
    return {"lanes": {name: dict(one) for name, one in lanes.items() if one["last_at"] + MEMORY > at}}


def _counts(record: Document, lane: Lane, at: datetime) -> list[tuple[dict[str, Any], int]]:
    """The counts that a try of this lane is on, and how many of each are free."""
    lanes = record["lanes"]
    counts = [(lanes.setdefault(lane.name, {"count": 0, "last_at": at}), FREE_IN_LANE)]
    if not lane.known:
        counts.append((lanes.setdefault("strangers", {"count": 0, "last_at": at}), FREE_TO_STRANGERS))
    return counts
