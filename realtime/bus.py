"""The control bus: short facts that every process must hear, such as "this session was revoked".

A fact is told to the process that publishes it at once and to the others through the relay, when there is one. It is
not durable: whoever relies on a fact has written it to the database first and can survive missing it (a cache expires).
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ops.tasks import end
from realtime.relay.relay import ALL, Relay

log = logging.getLogger("parley.bus")

Listener = Callable[[dict[str, Any]], Awaitable[None]]
FACT = b"F"


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


class RelayBus(Bus):
    """Many processes. Facts of others are listened to one after the other, as they came."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self._relay = relay
        self._facts: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        relay.on(FACT, self._receive)

    async def publish(self, kind: str, data: dict[str, Any]) -> None:
        self._relay.send(FACT, [ALL], kind.encode(), msgspec.json.encode(data))
        await self._deliver(kind, data)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._deliver_forever(), name="bus")

    async def stop(self) -> None:
        await end(self._task)

    def _receive(self, process: str, number: int, names: bytes, body: bytes) -> None:
        self._facts.put_nowait((names.decode(), msgspec.json.decode(body)))

    async def _deliver_forever(self) -> None:
        while True:
            await self._deliver(*await self._facts.get())
