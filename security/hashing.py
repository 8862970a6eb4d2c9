"""Who hashes a password next. bcrypt takes a quarter of a second of a core, and few threads do it.

What waits is bounded, and callers take turns by address: one that sends a thousand log-ins waits for its own. Those
who are known, whose log-ins are few, have a thread of their own and go before strangers in the other. Over the bound
the address that has most waiting loses its last; work whose caller has gone is dropped when its turn comes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from contract.errors import ParleyError
from ops.metrics import HASHES, HASHES_WAITING

WAITING_MAX = 64
WAITING_PER_ADDRESS = 32
FIRST_GUESS_S = 0.25  # how long a hash takes, until one was measured
SMOOTHING = 0.2
NICE, NICE_TO_ALL = 10, 19


class Caller(Protocol):
    """`address`: what callers take turns by. `gone`: nobody waits for the answer any more."""

    @property
    def address(self) -> str: ...

    def gone(self) -> bool: ...


@dataclass(slots=True, eq=False)
class _Job:
    future: asyncio.Future[Any]
    caller: Caller
    work: Callable[[], Any]


class _Line:
    """Jobs by address; the addresses in the order of their turns."""

    def __init__(self) -> None:
        self._by_address: dict[str, deque[_Job]] = {}
        self.length = 0

    def of(self, address: str) -> int:
        return len(self._by_address.get(address, ()))

    def add(self, job: _Job) -> None:
        self._by_address.setdefault(job.caller.address, deque()).append(job)
        self.length += 1

    def next(self) -> _Job:
        address = next(iter(self._by_address))
        jobs = self._by_address.pop(address)
        job = jobs.popleft()
        if jobs:
            self._by_address[address] = jobs  # behind all others
        self.length -= 1
        return job

    def longest(self) -> str:
        return max(self._by_address, key=self.of)

    def drop_last(self, address: str) -> _Job:
        jobs = self._by_address[address]
        job = jobs.pop()
        if not jobs:
            del self._by_address[address]
        self.length -= 1
        return job


class _Thread:
    """One thread for hashing, which gives way to others by so much. `reserved`: it is for the known only."""

    def __init__(self, nice: int, reserved: bool) -> None:
        self.pool = ThreadPoolExecutor(1, "bcrypt", initializer=partial(_give_way, nice))
        self.reserved = reserved
        self.busy = False


def _give_way(nice: int) -> None:
    """Where there are few cores, everybody who is connected goes before whoever logs in."""
    if sys.platform == "linux":  # elsewhere priorities are not a thread's
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


class HashQueue:
    """Two threads, one of them for the known (without `reserved` only the other). Raises over_capacity for what there
    is no room for."""

    def __init__(self, reserved: bool = True) -> None:
        self._threads = [_Thread(NICE, reserved=True)] if reserved else []
        self._threads.append(_Thread(NICE_TO_ALL, reserved=False))
        self._known, self._strangers = _Line(), _Line()
        self._seconds = FIRST_GUESS_S
        HASHES_WAITING.set_function(lambda: self.waiting)

    @property
    def waiting(self) -> int:
        return self._known.length + self._strangers.length

    async def run(self, caller: Caller, work: Callable[[], Any], known: bool = False) -> Any:
        line = self._known if known else self._strangers
        self._make_room(line, caller.address)
        job = _Job(asyncio.get_running_loop().create_future(), caller, work)
        line.add(job)
        self._begin()
        return await job.future

    def _make_room(self, line: _Line, address: str) -> None:
        """So that one more of this address may wait."""
        if line.of(address) >= WAITING_PER_ADDRESS:
            raise self._full()
        if line.length < WAITING_MAX:
            return
        longest = line.longest()
        if line.of(longest) <= line.of(address) + 1:
            raise self._full()
        line.drop_last(longest).future.set_exception(self._full())

    def _full(self) -> ParleyError:
        HASHES.labels("refused").inc()
        wait_s = max(1.0, self.waiting * self._seconds)
        return ParleyError("over_capacity", retry_after_ms=int(wait_s * 1000))

    def _begin(self) -> None:
        for thread in self._threads:
            if not thread.busy and (job := self._next(thread)) is not None:
                thread.busy = True
                hashing = asyncio.get_running_loop().run_in_executor(thread.pool, job.work)
                hashing.add_done_callback(partial(self._done, thread, job, time.monotonic()))

    def _next(self, thread: _Thread) -> _Job | None:
        while self._known.length or (self._strangers.length and not thread.reserved):
            job = (self._known if self._known.length else self._strangers).next()
            if job.future.done():  # whoever asked was cancelled
                continue
            if not job.caller.gone():
                return job
            HASHES.labels("abandoned").inc()
            job.future.set_exception(ParleyError("unavailable", "The client has gone."))
        return None

    def _done(self, thread: _Thread, job: _Job, started: float, hashing: asyncio.Future[Any]) -> None:
        thread.busy = False
        if hashing.cancelled():
            job.future.cancel()
            return
        error = hashing.exception()
        if error is None:
            self._seconds += SMOOTHING * (time.monotonic() - started - self._seconds)
            HASHES.labels("done").inc()
        if not job.future.done():
            if error is None:
                job.future.set_result(hashing.result())
            else:
                job.future.set_exception(error)
        self._begin()

    def close(self) -> None:
        for thread in self._threads:
            thread.pool.shutdown(wait=False, cancel_futures=True)
