"""The relay on a real Redis cluster of three masters and three replicas: it follows its slot wherever that goes."""

from __future__ import annotations

import asyncio

from redis.crc import key_slot

from bench.redis_cluster import RedisCluster, ask
from ops.metrics import RELAY
from realtime.relay.client import prefix_of
from realtime.relay.slot import SlotPool
from tests.cluster.relays import End, ends
from tests.support import until

# From a master's death: two seconds until it is noticed, the election, and the next attempts of those who lost it.


async def master_of(redis_cluster: RedisCluster, end: End) -> int:
    return await asyncio.to_thread(redis_cluster.master_of, prefix_of(end.deployment))


async def say_on(said: list[str], end: End, stop: asyncio.Event) -> None:
    while not stop.is_set():
        said.append(str(len(said)))
        end.send(said[-1], "1", "2")
        await asyncio.sleep(0.01)


class Talk:
    """A speaks all the time until told to stop; then B has to have all of it, in order and once."""

    def __init__(self, a: End, b: End) -> None:
        self.a, self.b = a, b
        self.said: list[str] = []
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(say_on(self.said, a, self._stop))
        self._missed = RELAY.missed

    async def live_again(self) -> None:
        """Until something that is said from now on has arrived by itself."""
        new = len(self.said)
        await until(lambda: len(self.b.heard) > new + 10 and self.a.relay.connected and self.b.relay.connected, 60)

    async def end(self) -> None:
        self._stop.set()
        await self._task
        await until(lambda: len(self.b.heard) >= len(self.said))
        assert self.b.bodies == self.said
        assert RELAY.missed == self._missed


async def test_all_of_a_deployment_lies_on_one_node(redis_cluster: RedisCluster) -> None:
    async with ends(redis_cluster.url) as (a, b):
        for number in range(100):
            a.send(str(number), "1", "2")
        await until(lambda: len(b.heard) == 100)
        owner = await master_of(redis_cluster, a)
        assert {port for port in redis_cluster.ports if ask(port, "PUBSUB", "SHARDCHANNELS")} == {owner}
        assert not any(ask(port, "PUBSUB", "CHANNELS") for port in redis_cluster.ports)


async def test_a_replica_takes_over_from_a_killed_master_and_nothing_is_lost(redis_cluster: RedisCluster) -> None:
    async with ends(redis_cluster.url) as (a, b):
        talk = Talk(a, b)
        await talk.live_again()
        owner = await master_of(redis_cluster, a)
        redis_cluster.kill(owner)
        await until(lambda: a.relay.away and not b.relay.connected)
        await talk.live_again()
        await talk.end()
        assert await master_of(redis_cluster, a) != owner


async def test_a_frozen_master_is_left_for_its_successor_and_what_it_says_when_it_thaws_is_not_new(
    redis_cluster: RedisCluster,
) -> None:
    """It still has publications, that were said again elsewhere, in the buffers of its sockets."""
    async with ends(redis_cluster.url) as (a, b):
        talk = Talk(a, b)
        await talk.live_again()
        owner = await master_of(redis_cluster, a)
        redis_cluster.freeze(owner)
        await until(lambda: a.relay.away)
        await talk.live_again()
        redis_cluster.thaw(owner)
        await until(lambda: ask(owner, "ROLE")[0] == b"slave")
        await talk.live_again()
        await talk.end()
        assert not ask(owner, "PUBSUB", "SHARDCHANNELS")


async def test_the_death_of_another_master_is_not_even_noticed(redis_cluster: RedisCluster) -> None:
    async with ends(redis_cluster.url) as (a, b):
        talk = Talk(a, b)
        await talk.live_again()
        steady = a.relay.steady_since, b.relay.steady_since
        other = await asyncio.to_thread(redis_cluster.other_master, prefix_of(a.deployment))
        redis_cluster.kill(other)
        await until(lambda: ask(redis_cluster.ports[0] if other != redis_cluster.ports[0] else redis_cluster.ports[1],
                                "CLUSTER INFO")["cluster_state"] != "ok")  # fmt: skip
        await talk.live_again()
        await talk.end()
        assert (a.relay.steady_since, b.relay.steady_since) == steady


async def test_it_follows_a_master_that_is_told_to_step_down(redis_cluster: RedisCluster) -> None:
    """The old one lives on as a replica, which takes publications and subscriptions without a word."""
    async with ends(redis_cluster.url) as (a, b):
        talk = Talk(a, b)
        await talk.live_again()
        owner = await master_of(redis_cluster, a)
        ask(await asyncio.to_thread(redis_cluster.replica_of, owner), "CLUSTER", "FAILOVER")
        await until(lambda: ask(owner, "ROLE")[0] == b"slave")
        await until(lambda: not ask(owner, "PUBSUB", "SHARDCHANNELS"))
        await talk.live_again()
        await talk.end()


async def test_it_follows_its_slot_to_another_master(redis_cluster: RedisCluster) -> None:
    async with ends(redis_cluster.url) as (a, b):
        talk = Talk(a, b)
        await talk.live_again()
        prefix = prefix_of(a.deployment)
        source = await master_of(redis_cluster, a)
        target = await asyncio.to_thread(redis_cluster.other_master, prefix)
        await asyncio.to_thread(redis_cluster.move_slot, prefix, target)
        await until(lambda: bool(ask(target, "PUBSUB", "SHARDCHANNELS")))
        await talk.live_again()
        await talk.end()
        assert not ask(source, "PUBSUB", "SHARDCHANNELS")


async def test_one_node_that_answers_is_enough_to_find_the_others(redis_cluster: RedisCluster) -> None:
    async with ends(redis_cluster.url, 1) as (a,):
        owner = await master_of(redis_cluster, a)
        dead = await asyncio.to_thread(redis_cluster.other_master, prefix_of(a.deployment))
        redis_cluster.kill(dead)
        lone = next(port for port in redis_cluster.ports if port not in (owner, dead))
        late = End(f"redis+cluster://127.0.0.1:{dead},127.0.0.1:{lone}", a.deployment)
        await late.relay.start()
        assert late.relay.connected
        late.send("here", "1")
        await until(lambda: a.bodies == ["here"])
        await late.relay.stop()


def test_names_of_a_deployment_have_one_slot() -> None:
    for deployment in ("parley", "t_1", "with}brace", "{odd}"):
        prefix = prefix_of(deployment)
        assert len({key_slot(f"{prefix}{name}".encode()) for name in ("", "all", "63", "presence:user:u_1")}) == 1


def test_nodes_are_named_as_in_any_url() -> None:
    pool = SlotPool("redis+cluster://user:secret@[::1]:7000,redis.test,10.0.0.1:7001", "{parley:x}:")
    assert pool.owner._startup == [("::1", 7000), ("redis.test", 6379), ("10.0.0.1", 7001)]
