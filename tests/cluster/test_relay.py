"""The relay over a real Redis: what is said arrives in order and once, whatever happens to Redis in between."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis

from bench.redis_server import RedisServer
from ops.metrics import RELAY
from realtime.relay import client
from realtime.relay.link import FAILURES
from realtime.relay.relay import ALL
from storage.embedded import free_port
from tests.cluster.relays import End, ends
from tests.support import PATIENCE_S, until


async def test_what_is_said_arrives_in_order_and_copies_count_once(redis_url: str) -> None:
    async with ends(redis_url, 3) as (a, b, c):
        for number in range(500):
            a.send(f"a{number}", *(("1",), ("1", "2"), (ALL,), ("2",))[number % 4])
            b.send(f"b{number}", "1")
        await until(lambda: len(c.heard) == 1000 and len(a.heard) == len(b.heard) == 500)
        for end, other in ((b, "a"), (a, "b"), (c, "a"), (c, "b")):
            own = [body for body in end.bodies if body[0] == other]
            assert sorted(own, key=lambda body: int(body[1:])) == [f"{other}{number}" for number in range(500)]
            assert [body for body in own if int(body[1:]) % 4 == 0] == [f"{other}{n}" for n in range(0, 500, 4)]


async def test_who_wants_no_channel_hears_nothing_of_it(redis_url: str) -> None:
    async with ends(redis_url) as (a, b):
        a.send("to nobody here", "17")
        a.send("heard", "1")
        await until(lambda: b.bodies == ["heard"])
        b.relay.want("17")
        await b.relay.reach(["17"])
        a.send("from here on", "17")
        await until(lambda: b.bodies == ["heard", "from here on"])


async def test_what_a_process_has_no_use_for_leaves_no_gap(redis_url: str) -> None:
    """A worker, which has no clients, hears of those that return to web processes."""
    asked = RELAY.asked
    async with ends(redis_url) as (a, b):
        for number in range(10):
            a.relay.send(b"X", ["1"], b"*", b"for others")
            a.send(str(number), "1")
        await until(lambda: len(b.heard) == 10)
        assert not b.relay.behind
        assert RELAY.asked == asked


@pytest.mark.parametrize("channel", ["1", ALL])
async def test_a_cut_subscription_loses_nothing(redis_url: str, channel: str) -> None:
    redis: Any = Redis.from_url(redis_url)
    missed = RELAY.missed
    async with ends(redis_url) as (a, b):
        for number in range(2_000):
            a.send(str(number), channel)
            if number % 500 == 100:
                await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            if number % 10 == 0:
                await asyncio.sleep(0.001)
        await until(lambda: len(b.heard) == 2_000)
        assert b.bodies == [str(number) for number in range(2_000)]
        assert RELAY.missed == missed
    await redis.aclose()


async def test_what_is_said_while_redis_is_stopped_arrives_when_it_is_back() -> None:
    missed = RELAY.missed
    redis = RedisServer().start()
    try:
        async with ends(redis.url) as (a, b):
            for number in range(50):
                a.send(str(number), "1")
            await until(lambda: len(b.heard) == 50)
            redis.stop()
            for number in range(50, 3_000):
                a.send(str(number), "1", "2")
                if number % 50 == 0:
                    await asyncio.sleep(0.02)
            assert not a.relay._link.up_since
            redis.start()
            await until(lambda: len(b.heard) == 3_000)
            assert b.bodies == [str(number) for number in range(3_000)]
            assert RELAY.missed == missed
            a.send("on", "1")
            await until(lambda: b.bodies[-1] == "on")
    finally:
        redis.stop()


async def test_one_that_begins_while_redis_is_stopped_is_heard_in_full() -> None:
    redis = RedisServer().start()
    try:
        async with ends(redis.url, 1) as (a,):
            redis.stop()
            late = End(redis.url, a.deployment)
            await late.relay.start()
            for number in range(20):
                late.send(str(number), "1")
            redis.start()
            await until(lambda: len(a.heard) == 20)
            assert a.bodies == [str(number) for number in range(20)]
            await late.relay.stop()
    finally:
        redis.stop()


async def test_what_is_not_kept_any_more_is_known_to_be_lost() -> None:
    redis = RedisServer().start()
    try:
        async with ends(redis.url) as (a, b):
            a.relay._sent._bytes_max = 1_000
            a.send("first", "1")
            await until(lambda: b.bodies == ["first"])
            before = time.time()
            redis.stop()
            for number in range(100):
                a.send(f"lost or last {number}", "1")
            redis.start()
            await until(lambda: bool(b.uncertain) and bool(b.bodies) and b.bodies[-1] == "lost or last 99")
            assert len(b.heard) < 100
            assert before - 3 < b.uncertain[0] < before + 1
    finally:
        redis.stop()


async def test_a_process_that_dies_is_noticed_and_one_that_ends_is_not_mourned(redis_url: str) -> None:
    async with ends(redis_url, 3) as (a, b, c):
        await c.relay.stop()
        await until(lambda: len(a.relay.peers) == 1)
        assert not a.uncertain
        died = time.time()
        await b.crash()
        await until(lambda: bool(a.uncertain))
        assert died - 2 < a.uncertain[0] <= died + 0.1


async def test_a_cluster_is_used_by_sharded_channels(tmp_path: Path) -> None:
    port = free_port()
    redis = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1", "--cluster-enabled", "yes",
         "--cluster-port", str(free_port()), "--dir", str(tmp_path)], stdout=subprocess.DEVNULL,
    )  # fmt: skip
    node: Any = Redis(port=port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(Exception):
                    await node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                    break
                await asyncio.sleep(0.1)
            while b"cluster_state:ok" not in await node.execute_command("CLUSTER", "INFO"):
                await asyncio.sleep(0.1)
        async with ends(f"redis+cluster://127.0.0.1:{port}") as (a, b):
            for number in range(200):
                a.send(str(number), "1", "2")
            await until(lambda: len(b.heard) == 200)
            assert b.bodies == [str(number) for number in range(200)]
            assert await node.execute_command("PUBSUB", "SHARDCHANNELS")
            assert not await node.execute_command("PUBSUB", "CHANNELS")
    finally:
        await node.aclose()
        redis.terminate()
        redis.wait()


async def test_sentinel_says_where_the_master_is(tmp_path: Path, redis_url: str) -> None:
    port, master = free_port(), redis_url.rpartition(":")[2].partition("/")[0]
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor parley 127.0.0.1 {master} 1\n")
    sentinel = subprocess.Popen(["redis-server", str(configuration), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        async with ends(f"redis+sentinel://127.0.0.1:{port}/parley") as (a, b):
            for number in range(50):
                a.send(str(number), "1", "2")
            await until(lambda: len(b.heard) == 50)
    finally:
        sentinel.terminate()
        sentinel.wait()


@pytest.mark.parametrize("silent_is_older", [True, False])
async def test_a_process_that_was_taken_for_dead_and_comes_back_is_heard_in_full_and_once(
    redis_url: str, silent_is_older: bool
) -> None:
    """As after SIGSTOP, or when one process alone was cut off from Redis."""
    async with ends(redis_url, 1) as (first,):
        second = End(redis_url, first.deployment)
        second.relay.want("1")
        await second.relay.start()
        await second.relay.reach(["1"])
        silent, other = (first, second) if silent_is_older else (second, first)
        await until(lambda: len(silent.relay.peers) == len(other.relay.peers) == 1)
        for number in range(5):
            silent.send(str(number), "1")
            silent.send(f"all {number}", ALL)
        await until(lambda: len(other.heard) == 10)
        publish, silent.relay._link._publish = silent.relay._link._publish, lambda: asyncio.sleep(0)  # type: ignore[method-assign]
        for number in range(5, 10):
            silent.send(str(number), "1")
            silent.send(f"all {number}", ALL)
        await until(lambda: not len(other.relay.peers))
        assert other.uncertain
        silent.relay._link._publish = publish  # type: ignore[method-assign]
        await until(lambda: len(other.heard) == 20)
        await asyncio.sleep(1.5)
        assert [body for body in other.bodies if not body.startswith("all")] == [str(number) for number in range(10)]
        assert [body for body in other.bodies if body.startswith("all")] == [f"all {number}" for number in range(10)]
        await second.relay.stop()


async def test_a_fault_while_a_channel_is_added_ends_the_connection_and_not_the_listening(redis_url: str) -> None:
    async with ends(redis_url) as (a, b):
        subscription = b.relay._link._subscription
        assert subscription is not None

        async def fail(channels: Iterable[str]) -> None:
            raise ValueError("a fault of the client library")

        subscription.add = fail  # type: ignore[method-assign]
        b.relay.want("17")
        await until(lambda: "17" in b.relay.peers.following)
        a.send("heard", "17")
        await until(lambda: b.bodies == ["heard"])


async def test_how_far_a_stream_goes_is_said_of_all_that_was_published_before(redis_url: str) -> None:
    """Whoever begins to listen in between would take what it missed for what is still to come."""
    async with ends(redis_url) as (a, b):
        announced = b.relay.peers.announced
        too_little: list[dict[str, int]] = []

        def listen(who: str, uptime_s: float, publishing_s: float, positions: dict[str, int]) -> None:
            if who == a.relay.id and positions.get("1", 0) < len(b.bodies):
                too_little.append(positions)
            announced(who, uptime_s, publishing_s, positions)

        b.relay.peers.announced = listen  # type: ignore[method-assign, assignment]
        for number in range(20):
            a.relay._announce()
            a.send(str(number), "1")
            await until(lambda: len(b.bodies) == number + 1)  # noqa: B023 - awaited here
        a.relay._announce()
        await asyncio.sleep(0.1)
        assert too_little == []


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
def test_adding_to_a_connection_that_was_closed_a_moment_ago_fails_as_any_cut_does(
    redis_url: str, loop: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def cut() -> None:
        redis = client.connect(redis_url, "")
        subscription: Any = client.Subscription(redis)
        await subscription.add(["17"])
        subscription._pubsub.connection._writer.transport.abort()
        with pytest.raises(FAILURES):
            await subscription.add(["18"])
        await subscription.close()
        await client.close(redis)

    loop(cut())


@pytest.mark.parametrize("turns", range(5))
async def test_it_stops_while_channels_are_being_added(redis_url: str, turns: int) -> None:
    end = End(redis_url, f"t_{secrets.token_hex(4)}")
    await end.relay.start()
    end.relay.want("17")
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        await end.relay.stop()
