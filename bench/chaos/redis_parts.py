"""The Redis of a run: one server, or a cluster of three masters and three replicas."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from bench import redis_cluster, redis_server
from bench.chaos.part import ChaosError, Part
from realtime.relay.client import prefix_of

WITHIN_S = 60.0
LOOK_EVERY_S = 0.2


class Redis(Protocol):
    """`parts`: its servers."""

    url: str
    parts: tuple[Part, ...]

    async def start(self) -> None: ...
    async def serving(self) -> Part | None:
        """The one that has everything of the deployment; None while there is none."""
        ...

    async def victim(self, kind: str, chance: random.Random) -> Part:
        """Which one a fault of this kind happens to."""
        ...

    async def replaced(self, part: Part) -> None:
        """Returns when another one has what a killed one had."""
        ...

    async def well(self) -> None:
        """Returns when all that a fault has brought about is over."""
        ...


def _part(name: str, command: list[str], port: int, directory: Path) -> Part:
    return Part(name, command, dict(os.environ), port, directory / f"{name.replace(' ', '-')}.log")


class Single:
    """One server that stores nothing."""

    def __init__(self, directory: Path, ports: Iterator[int], deployment: str) -> None:
        port = next(ports)
        self.url = f"redis://{redis_server.HOST}:{port}/0"
        self.parts: tuple[Part, ...] = (_part("redis", redis_server.command(port), port, directory),)

    async def start(self) -> None:
        await self.parts[0].start()

    async def serving(self) -> Part | None:
        return self.parts[0]

    async def victim(self, kind: str, chance: random.Random) -> Part:
        return self.parts[0]

    async def replaced(self, part: Part) -> None:
        pass

    async def well(self) -> None:
        pass


class Nodes:
    """A cluster. A fault is over when it is whole again: two at once may leave a shard without any node."""

    def __init__(self, directory: Path, ports: Iterator[int], deployment: str) -> None:
        self._prefix = prefix_of(deployment)
        self._addresses = redis_cluster.addresses(ports)
        self._ports = [address.port for address in self._addresses]
        self.url = "redis+cluster://" + ",".join(f"{redis_server.HOST}:{port}" for port in self._ports)
        made = []
        for number, address in enumerate(self._addresses):
            home = directory / f"redis-{number}"
            home.mkdir(parents=True, exist_ok=True)
            made.append(_part(f"redis {number}", redis_cluster.node_command(address, home), address.port, directory))
        self.parts = tuple(made)

    async def start(self) -> None:
        await asyncio.gather(*(part.start() for part in self.parts))
        await asyncio.to_thread(redis_cluster.create, self._addresses)
        await self.well()

    async def serving(self) -> Part | None:
        port = await asyncio.to_thread(redis_cluster.master_of, self._ports, self._prefix)
        return next((part for part in self.parts if part.port == port), None)

    async def victim(self, kind: str, chance: random.Random) -> Part:
        serving = await self.serving()
        others = [part for part in self.parts if part is not serving]
        other = chance.choice(others)
        if serving is None or kind == "redis-node":
            return other
        return serving if kind == "redis-master" or chance.random() < 0.5 else other

    async def replaced(self, part: Part) -> None:
        await self._until("has no master in place of one that was killed", lambda: self._has_another(part))

    def _has_another(self, part: Part) -> bool:
        return redis_cluster.master_of(self._ports, self._prefix) not in (None, part.port)

    async def well(self) -> None:
        await self._until("is not whole", lambda: redis_cluster.is_whole(self._ports))

    @staticmethod
    async def _until(otherwise: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not await asyncio.to_thread(condition):
            if time.monotonic() > deadline:
                raise ChaosError(f"the Redis cluster {otherwise} after {WITHIN_S:.0f} s")
            await asyncio.sleep(LOOK_EVERY_S)


REDIS: dict[str, Callable[[Path, Iterator[int], str], Redis]] = {"single": Single, "cluster": Nodes}
