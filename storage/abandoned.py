"""Ends the transactions of processes that died in them.

A server keeps an open transaction, and what it locked, for a minute after its client is gone. So each process writes
down the sessions it has transactions in, with a number that it raises every BEAT_S, and looks at the numbers of the
others: one that stood still for ABANDONED_LOOKS looks has its sessions killed. No clocks are compared. A process that
was only frozen loses nothing but the transaction it was in, which it does again or answers with `conflict`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from bson import Binary
from pymongo.errors import OperationFailure, PyMongoError

if TYPE_CHECKING:
    from storage.mongo import Collection, Document

BEAT_S = 1.0
ABANDONED_LOOKS = 4
# The driver takes a session from its pool for at most the 30 minutes that servers keep an idle one.
SESSION_S = 1_900.0

log = logging.getLogger("parley.storage")


class Abandoned:
    """Documents: {_id, beat: int, sessions: [UUID as binary]}, one a process. `kill` ends what sessions have open."""

    def __init__(self, processes: Collection, kill: Callable[[list[Binary]], Awaitable[object]]) -> None:
        self._processes = processes
        self._kill = kill
        self._own = secrets.token_hex(8)
        self._beat = 0
        self._sessions: dict[Binary, float] = {}  # when each was last used, by the monotonic clock
        self._written: frozenset[Binary] = frozenset()
        self._writing: asyncio.Task[None] | None = None
        self._unended: set[Binary] = set()
        self._seen: dict[str, tuple[int, int]] = {}  # by process: its beat, and for how many looks it stood still

    async def use(self, session: Binary) -> None:
        """Before a transaction: when this returns, the others know of its session."""
        self._sessions[session] = time.monotonic()
        try:
            while session not in self._written:  # one that was being written may not have it yet
                await self._write()
        except BaseException:
            if session not in self._written:
                self._sessions.pop(session, None)
            raise

    def not_ended(self, session: Binary) -> None:
        """Its transaction may not have been aborted: that is done again until it is known to have happened."""
        self._unended.add(session)

    async def tend_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self.tend()
            except PyMongoError as error:
                log.debug("abandoned transactions were not looked for: %s", error)
            except Exception:
                log.exception("abandoned transactions were not looked for")

    async def leave(self) -> None:
        """The process ends, and nothing of it is open."""
        self._sessions.clear()
        while self._written:
            await self._write()

    async def tend(self) -> None:
        """One beat and one look."""
        if self._sessions or self._written:
            await self._write()
        if self._unended:
            await self._kill(unended := list(self._unended))
            self._unended.difference_update(unended)
        found = await self._processes.find({"_id": {"$ne": self._own}}).to_list(None)
        seen = self._seen
        self._seen = {}
        for other in found:
            beat, still = seen.get(other["_id"], (None, 0))
            still = still + 1 if beat == other["beat"] else 0
            if still < ABANDONED_LOOKS:
                self._seen[other["_id"]] = (other["beat"], still)
            else:
                await self._end(other)

    async def _end(self, other: Document) -> None:
        try:
            if other["sessions"]:  # of none, the server would kill all that there are
                await self._kill(other["sessions"])
        except OperationFailure as error:  # some hosted servers do not let one
            log.warning("process %s is gone; what it left open may stay locked for a minute: %s", other["_id"], error)
        else:
            log.info("process %s is gone: what it left open is ended", other["_id"])
        await self._processes.delete_one({"_id": other["_id"], "beat": other["beat"]})

    async def _write(self) -> None:
        """One write for all who wait, and one outcome: a server that is away costs each of them its time once."""
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_now())
            self._writing.add_done_callback(_heard)
        await asyncio.shield(self._writing)

    async def _write_now(self) -> None:
        try:
            await self._write_sessions()
        finally:
            # Here, not when the task is seen to be done: whoever came in between would wait for what is over, for ever.
            self._writing = None

    async def _write_sessions(self) -> None:
        oldest = time.monotonic() - SESSION_S
        self._sessions = {key: used for key, used in self._sessions.items() if used > oldest}
        sessions = frozenset(self._sessions)
        self._beat += 1
        if sessions:
            change = {"$set": {"beat": self._beat, "sessions": list(sessions)}}
            await self._processes.update_one({"_id": self._own}, change, upsert=True)
        else:
            await self._processes.delete_one({"_id": self._own})
        self._written = sessions


def _heard(task: asyncio.Task[None]) -> None:
    """A failure was raised where it was waited for; that nobody waits any more is no error."""
    if not task.cancelled():
        task.exception()
