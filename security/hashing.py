"""Who hashes a password next. bcrypt takes a quarter of a second of a core, and few threads do it.

What waits is bounded, and callers take turns: strangers by address, so that one that sends a thousand log-ins waits for
its own, and the owners of accounts by account, for whom there is a thread of their own. Over the bound the one who has
most waiting loses the last; work whose caller has gone is dropped when its turn comes.
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
WAITING_PER_ACCOUNT = 4
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
    """`whose`: by what it takes its turns."""

    future: asyncio.Future[Any]
    caller: Caller
    work: Callable[[], Any]
    whose: str


class _Line:
    """Jobs by whose they are, in the order of their turns; of each so many at most."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._jobs: dict[str, deque[_Job]] = {}
        self.length = 0

    def of(self, whose: str) -> int:
        return len(self._jobs.get(whose, ()))

    def add(self, job: _Job) -> None:
        self._jobs.setdefault(job.whose, deque()).append(job)
        self.length += 1

    def next(self) -> _Job:
        whose = next(iter(self._jobs))
        jobs = self._jobs.pop(whose)
        job = jobs.popleft()
        if jobs:
            self._jobs[whose] = jobs  # behind all others
        self.length -= 1
        return job

    def longest(self) -> str:
        return max(self._jobs, key=self.of)

    def drop_last(self, whose: str) -> _Job:
        jobs = self._jobs[whose]
        job = jobs.pop()
        if not jobs:
            del self._jobs[whose]
        self.length -= 1
        return job


class _Thread:
    """One thread for hashing, which gives way to others by so much. `reserved`: it is for owners only."""

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
    """Two threads, one of them for owners; without `reserved` only the other.

    Raises over_capacity for what there is no room for.
    """

    def __init__(self, reserved: bool = True) -> None:
        self._threads = [_Thread(NICE, reserved=True)] if reserved else []
        self._threads.append(_Thread(NICE_TO_ALL, reserved=False))
        self._known, self._strangers = _Line(WAITING_PER_ACCOUNT), _Line(WAITING_PER_ADDRESS)
        self._strangers_turn = False
        self._seconds = FIRST_GUESS_S
        HASHES_WAITING.set_function(lambda: self.waiting)

    @property
    def waiting(self) -> int:
        return self._known.length + self._strangers.length

    async def run(self, caller: Caller, work: Callable[[], Any], owner: str | None = None) -> Any:
        """`owner`: of which account the caller is the owner, as far as one can tell; None for a stranger."""
        line, whose = self._line_of(caller, owner)
        self._check_room(line, whose)
        if line.length >= WAITING_MAX:
            line.drop_last(line.longest()).future.set_exception(self._full())
        job = _Job(asyncio.get_running_loop().create_future(), caller, work, whose)
        line.add(job)
        self._begin()
        return await job.future

    def _line_of(self, caller: Caller, owner: str | None) -> tuple[_Line, str]:
        return (self._strangers, caller.address) if owner is None else (self._known, owner)

    def check_room(self, caller: Caller, owner: str | None = None) -> None:
        """Raises over_capacity if `run` would now, for those who would write to the database before."""
        self._check_room(*self._line_of(caller, owner))

    def _check_room(self, line: _Line, whose: str) -> None:
        full = line.length >= WAITING_MAX and line.of(line.longest()) <= line.of(whose) + 1
        if full or line.of(whose) >= line.most:
            raise self._full()

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
        """The thread for all takes from both lines in turn: who has an account of their own is not before everybody."""
        while self._known.length or (self._strangers.length and not thread.reserved):
            line = self._known
            if not thread.reserved:
                self._strangers_turn = not self._strangers_turn
                lines = (self._strangers, self._known) if self._strangers_turn else (self._known, self._strangers)
                line = next(one for one in lines if one.length)
            job = line.next()
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
