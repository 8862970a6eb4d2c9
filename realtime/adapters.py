"""Whether this process is alone or one of many, in one object: everything that differs between the two.

Alone, memory does; with others, they are reached through Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from redis.asyncio import Redis

from realtime.bus import Bus, MemoryBus, RelayBus
from realtime.handover import Handover, holds_nobody
from realtime.leases import Directory, MemoryDirectory, RedisDirectory
from realtime.managers import Late, MemoryManager, RelayManager
from realtime.recovery import Recovery
from realtime.relay import client
from realtime.relay.relay import Relay
from realtime.relay.seal import Seal
from security.secret import Key

RELAY_TIMEOUT_S = 2.0


class MemoryAdapter:
    """One process."""

    alone = True
    ping_ms = None

    def __init__(self) -> None:
        self.bus: Bus = MemoryBus()
        self.manager = MemoryManager()
        self.directory: Directory = MemoryDirectory()

    def on_uncertain(self, callback: Callable[[float], None], pending: Callable[[], bool]) -> None:
        """`callback(since)`: what was published from then on (seconds since 1970) may be missing here. Never, alone.

        `pending`: whether people are still to be told because of it.
        """

    def on_late(self, late: Late, outdated: Late) -> None:
        """For events with an order, and for those that tell of a whole; see `managers.Late`. Never, alone."""

    def hand_over(self, recovery: Recovery) -> None:
        """Lost connections that return on another process are found. There is none, alone."""

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


class RedisAdapter:
    """Any number of processes. `deployment` keeps those of different deployments apart in one Redis; what they say to
    each other there is sealed with a key made from the first of `keys`, and known by any."""

    alone = False

    def __init__(self, url: str, deployment: str, keys: Sequence[Key]) -> None:
        prefix = client.prefix_of(deployment)
        self._redis: Redis = client.connect(url, prefix)
        # Its own connections: a publication must not wait for a slow answer to something else.
        seal = Seal([key.derive("relay") for key in keys])
        self._relay = Relay(client.connect(url, prefix, timeout_s=RELAY_TIMEOUT_S), deployment, seal)
        holds_nobody(self._relay)  # until `hand_over`
        self.bus: Bus = RelayBus(self._relay)
        self.manager = RelayManager(self._relay)
        self.directory: Directory = RedisDirectory(self._redis, prefix)
        self._pending: Callable[[], bool] = lambda: False

    def on_uncertain(self, callback: Callable[[float], None], pending: Callable[[], bool]) -> None:
        self._relay.peers.uncertain.append(callback)
        self._pending = pending

    def on_late(self, late: Late, outdated: Late) -> None:
        self.manager.late, self.manager.outdated = late, outdated

    def hand_over(self, recovery: Recovery) -> None:
        recovery.elsewhere = Handover(self._relay, recovery, self.manager, lambda: self._pending())

    async def start(self) -> None:
        await self._relay.start()
        await self.bus.start()

    async def stop(self) -> None:
        await self.bus.stop()
        await self._relay.stop()
        await client.close(self._redis)

    async def ping_ms(self) -> float:
        """Raises ConnectionError while this process does not hear itself through Redis, though that may answer."""
        if not self._relay.connected:
            raise ConnectionError("nothing comes back through Redis")
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self._redis.ping()
        return (loop.time() - started) * 1000


Adapter = MemoryAdapter | RedisAdapter


def make(redis_url: str | None, deployment: str, keys: Sequence[Key]) -> Adapter:
    return RedisAdapter(redis_url, deployment, keys) if redis_url is not None else MemoryAdapter()
