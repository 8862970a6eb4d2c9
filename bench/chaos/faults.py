"""Makes the faults of a plan happen, and notes when each began and when all was well again."""

from __future__ import annotations

import asyncio
import random
import re
import time
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis

from bench.chaos.part import Part
from bench.chaos.plan import KINDS, Fault, Plan
from bench.chaos.processes import Cluster
from bench.chaos.proxy import DIRECTIONS, HOST, Proxy

SLOW_BYTES_PER_S = (300, 3_000)
_SOCKET = re.compile(r"socket:\[(\d+)\]")


class Done(NamedTuple):
    """A fault as it happened, on `perf_counter`. `until`: it was over, and what it had killed accepted traffic."""

    kind: str
    thing: str
    at: float
    until: float


class Faults:
    """`done`: in the order in which they ended."""

    def __init__(self, plan: Plan, cluster: Cluster, proxies: list[Proxy], seed: int) -> None:
        self._plan = plan
        self._cluster = cluster
        self._proxies = proxies
        self._seed = seed
        self.done: list[Done] = []

    async def run(self, began_at: float) -> None:
        """Until the last one is over."""
        await asyncio.gather(*(self._sequence(faults, began_at) for faults in self._plan.by_thing()))

    async def _sequence(self, faults: list[Fault], began_at: float) -> None:
        for fault in faults:
            await asyncio.sleep(max(0.0, began_at + fault.at - time.perf_counter()))
            at = time.perf_counter()
            await self._happen(fault)
            self.done.append(Done(fault.kind, fault.thing, at, time.perf_counter()))

    async def _happen(self, fault: Fault) -> None:
        if KINDS[fault.kind].of == "people":
            await self._to_people(fault)
        elif fault.kind == "redis-cut":
            await self._cut_subscribers(fault)
        elif fault.thing == "redis":
            await self._to_redis(fault)
        elif fault.thing == "worker":
            await _to_part(fault, self._cluster.worker)
        elif fault.thing == "database":
            await self._to_database(fault)
        else:
            web = self._cluster.webs[int(fault.thing.split()[1])]
            await _to_part(fault, web)
            for proxy in self._proxies:
                if proxy.home == web.port:
                    proxy.send_home()  # or all clients would soon be at the process that died last

    def _chance(self, fault: Fault) -> random.Random:
        return random.Random(f"{self._seed} {fault.kind} {fault.at}")

    async def _to_redis(self, fault: Fault) -> None:
        redis = self._cluster.redis
        part = await redis.victim(fault.kind, self._chance(fault))
        if fault.kind == "redis-master":
            part.kill()
            await asyncio.gather(asyncio.sleep(fault.lasts_s), redis.replaced(part))
            await part.start()
        else:
            await _to_part(fault, part)
        await redis.well()

    async def _to_database(self, fault: Fault) -> None:
        mongo = self._cluster.mongo
        if fault.kind == "database-stop":
            mongo.freeze()
            await asyncio.sleep(fault.lasts_s)
            mongo.thaw()
        else:
            mongo.kill()
            await asyncio.sleep(fault.lasts_s)
            await mongo.restart()

    async def _to_people(self, fault: Fault) -> None:
        chance = self._chance(fault)
        count = max(1, round(len(self._proxies) * fault.share))
        lines = [line for proxy in chance.sample(self._proxies, count) for line in proxy.lines]
        if fault.kind == "cut":
            for line in lines:
                line.cut()
            return
        if fault.kind == "freeze":
            ways = [DIRECTIONS, DIRECTIONS[:1], DIRECTIONS[1:]]
            hurts = [line.freeze(chance.choice(ways), fault.lasts_s) for line in lines]
        else:
            hurts = [line.slow(chance.randint(*SLOW_BYTES_PER_S), fault.lasts_s) for line in lines]
        await asyncio.gather(*hurts)

    async def _cut_subscribers(self, fault: Fault) -> None:
        """Redis ends the connections by which some process hears the others."""
        up = [web for web in self._cluster.webs if web.look()]
        ports = ports_of(self._chance(fault).choice(up).pid) if up else set()
        serving = await self._cluster.redis.serving()
        if serving is None:
            return
        async with Redis(host=HOST, port=serving.port, socket_timeout=5.0) as redis:
            for client in await redis.client_list(_type="pubsub"):
                if int(client["addr"].rpartition(":")[2]) in ports:
                    await redis.client_kill_filter(_id=client["id"])


async def _to_part(fault: Fault, part: Part) -> None:
    if fault.kind.endswith(("-stop", "-freeze")):
        part.freeze()
        await asyncio.sleep(fault.lasts_s)
        part.thaw()
        return
    if fault.kind != "web-term":
        part.kill()
        await asyncio.sleep(fault.lasts_s)
    else:
        await part.terminate()
    await part.start()


def ports_of(pid: int) -> set[int]:
    """The local TCP ports of a process, by what Linux says of its open files."""
    inodes = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = _SOCKET.fullmatch(str(file.readlink()))
        except OSError:  # closed meanwhile
            continue
        if found:
            inodes.add(found[1])
    table = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(fields[1].rpartition(":")[2], 16) for fields in table if fields[9] in inodes}
