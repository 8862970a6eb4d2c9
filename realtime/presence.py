"""Turns connections opening and closing into people coming and going.

Several connections are one person. A drop is only believed after GRACE_S without a new connection, so a phone that
changes networks does not flicker. What to tell to whom is the presence actions' business; this calls `came` and `left`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from redis.exceptions import RedisError

from ops.metrics import PRESENCE_USERS
from ops.tasks import end
from realtime.connections import Connection, Connections
from realtime.leases import RENEW_S, Directory

log = logging.getLogger("parley.presence")

GRACE_S = 5.0
TICK_S = 0.25

Came = Callable[[str], Awaitable[None]]
Left = Callable[[dict[str, datetime]], Awaitable[None]]


class PresenceTracker:
    """`came(user_id)` and `left({user_id: last seen})` are awaited once per person, whatever the number of devices."""

    def __init__(self, connections: Connections, directory: Directory) -> None:
        self.directory = directory
        self._counts: dict[str, int] = {}
        self._leaving: dict[str, tuple[float, datetime]] = {}
        self._unsaid: set[str] = set()  # who came while the directory could not be reached
        self._came: Came | None = None
        self._left: Left | None = None
        self._task: asyncio.Task[None] | None = None
        connections.opened.append(self._opened)
        connections.closed.append(self._closed)
        PRESENCE_USERS.set_function(lambda: len(self._counts))

    def listen(self, came: Came, left: Left) -> None:
        self._came, self._left = came, left

    async def start(self) -> None:
        self._task = asyncio.create_task(self._tick_forever(), name="presence")

    async def stop(self) -> None:
        """Its people are about to come back to other processes, which are left to tell who did not. Alone, it says that
        all are gone, at once.
        """
        await end(self._task)
        try:
            if not await self.directory.hand_over(GRACE_S):
                await self._leave_all()
        except Exception as error:  # leases run out and last moments are of no great weight: the process goes anyway
            log.warning("not said who left with this process: %s", error)

    async def _leave_all(self) -> None:
        moment = datetime.now(UTC)
        staying = dict.fromkeys(self._counts, (0.0, moment))
        self._leaving = staying | {user_id: (0.0, at) for user_id, (_, at) in self._leaving.items()}
        self._counts.clear()
        await self._believe(float("inf"))

    async def _opened(self, connection: Connection) -> None:
        user_id = connection.identity.user_id
        self._counts[user_id] = self._counts.get(user_id, 0) + 1
        if self._leaving.pop(user_id, None) is not None or self._counts[user_id] > 1:
            return
        try:
            await self._join(user_id)
        except (RedisError, OSError) as error:
            self._unsaid.add(user_id)
            log.warning("presence of %s not recorded yet: %s", user_id, error)

    async def _join(self, user_id: str) -> None:
        if await self.directory.join(user_id) and self._came is not None:
            await self._came(user_id)

    def _closed(self, connection: Connection) -> None:
        user_id = connection.identity.user_id
        left = self._counts.get(user_id, 0) - 1
        if left > 0:
            self._counts[user_id] = left
            return
        self._counts.pop(user_id, None)
        self._leaving[user_id] = (time.monotonic() + GRACE_S, datetime.now(UTC))

    async def _tick_forever(self) -> None:
        renew_at = 0.0
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._believe(time.monotonic())
                if time.monotonic() >= renew_at:
                    renew_at = time.monotonic() + RENEW_S
                    try:
                        await self._say_unsaid()
                    finally:  # a lease that ran out would take everyone away
                        gone = await self.directory.renew([*self._counts, *self._leaving])
                        await self._tell_left(dict.fromkeys(gone, datetime.now(UTC)))
            except (RedisError, OSError) as error:
                log.warning("presence cannot reach Redis: %s", error)
            except Exception:
                log.exception("presence tick failed")

    async def _say_unsaid(self) -> None:
        for user_id in list(self._unsaid):
            if user_id in self._counts or user_id in self._leaving:
                await self._join(user_id)
            self._unsaid.discard(user_id)

    async def _believe(self, at: float) -> None:
        due = {user_id: seen for user_id, (when, seen) in self._leaving.items() if when <= at}
        if not due:
            return
        for user_id in due:
            del self._leaving[user_id]
        try:
            gone = await self.directory.leave(due)
        except BaseException:
            # Not said to the others: try again with the next tick, unless they are back.
            self._leaving |= {user_id: (at, seen) for user_id, seen in due.items() if user_id not in self._counts}
            raise
        for user_id in due:
            if user_id in self._counts:  # came back while we were leaving: make sure that the last word is ours
                await self.directory.join(user_id)
        await self._tell_left({user_id: due[user_id] for user_id in gone if user_id not in self._counts})

    async def _tell_left(self, seen: dict[str, datetime]) -> None:
        if seen and self._left is not None:
            await self._left(seen)
