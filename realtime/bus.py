"""The control bus: short facts that every process must hear, such as "this session was revoked".

A fact is told to the process that publishes it at once and to the others through Redis, when there is one. It is not
durable: whoever relies on a fact has written it to the database first and can survive missing it (a cache expires).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger("parley.bus")

Listener = Callable[[dict[str, Any]], Awaitable[None]]
CHANNEL = "parley:bus"
RETRY_MAX_S = 2.0
START_WAIT_S = 2.0


class Bus:
    """Delivers to the listeners of this process. The base of both adapters."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = defaultdict(list)

    def subscribe(self, kind: str, listener: Listener) -> None:
        self._listeners[kind].append(listener)

    async def publish(self, kind: str, data: dict[str, Any]) -> None:
        await self._deliver(kind, data)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def _deliver(self, kind: str, data: dict[str, Any]) -> None:
        for listener in self._listeners[kind]:
            try:
                await listener(data)
            except Exception:  # one listener's fault must not keep the fact from the others
                log.exception("listener for %s failed", kind)


class MemoryBus(Bus):
    """One process."""


class RedisBus(Bus):
    """Many processes: Redis pub/sub on one channel, JSON, never pickle."""

    def __init__(self, redis: Redis) -> None:
        super().__init__()
        self._redis = redis
        self._origin = secrets.token_hex(8)
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def publish(self, kind: str, data: dict[str, Any]) -> None:
        await self._deliver(kind, data)
        message = msgspec.json.encode({"origin": self._origin, "kind": kind, "data": data})
        try:
            await self._redis.publish(CHANNEL, message)
        except (RedisError, OSError) as error:
            log.error("could not tell other processes %s: %s", kind, error)

    async def start(self) -> None:
        """Returns once it hears the others, or after START_WAIT_S without Redis, which it goes on trying to reach."""
        self._task = asyncio.create_task(self._listen(), name="bus")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listening.wait(), START_WAIT_S)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        wait_s = 0.1
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(CHANNEL)
                    self._listening.set()
                    wait_s = 0.1
                    while True:
                        message = await subscription.get_message(timeout=30.0)
                        if message is not None:
                            await self._receive(message["data"])
            except (RedisError, OSError) as error:
                log.warning("bus lost Redis, trying again in %.1f s: %s", wait_s, error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MAX_S)

    async def _receive(self, raw: bytes) -> None:
        try:
            fact = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            log.warning("bus received something that is not JSON")
            return
        if fact["origin"] != self._origin:
            await self._deliver(fact["kind"], fact["data"])
