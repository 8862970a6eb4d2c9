"""A hostile client among the people: one attack of `bench.siege` after the other, each at a process that is up."""

from __future__ import annotations

import asyncio
import random
import sys

from bench.chaos.processes import Cluster
from bench.clients import Rest
from bench.processes import ROOT
from ops.tasks import end

KINDS = ("pings", "connects", "unknown", "limited", "gzip", "paths", "headers", "bodies", "frames", "binary", "leavers")
MBIT = "10"
LASTS_S = (5.0, 15.0)


class Hostile:
    """`made` lists the attacks."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._chance = random.Random(f"{seed} hostile")
        self._token = ""
        self._task: asyncio.Task[None] | None = None
        self.made: list[str] = []

    async def start(self, rest: Rest) -> None:
        self._token = (await rest.register("eve@siege.example", "a password of Eve's", "Eve")).access_token
        self._task = asyncio.create_task(self._attack_for_ever(), name="hostile")

    async def stop(self) -> None:
        await end(self._task)

    async def _attack_for_ever(self) -> None:
        while True:
            name, web = self._chance.choice(KINDS), self._chance.choice(self._cluster.webs)
            port = self._cluster.dial(web.port)
            if port is not None:
                await self._attack(name, f"http://127.0.0.1:{port}", self._chance.uniform(*LASTS_S))
            else:
                await asyncio.sleep(1)

    async def _attack(self, name: str, url: str, lasts_s: float) -> None:
        self.made.append(name)
        command = [sys.executable, "-m", "bench.siege.attacks", name, url, self._token, MBIT]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            process.kill()
            await process.wait()
