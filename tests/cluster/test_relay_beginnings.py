"""What was said before a process could hear it is known to be missing, whatever was away."""

from __future__ import annotations

import asyncio
import time

import pytest

from bench.redis_server import RedisServer
from tests.cluster.relays import End, ends
from tests.support import until


@pytest.mark.parametrize("away_s", [0, 1.5])
async def test_what_came_before_a_channel_could_be_listened_to_is_known_to_be_missing(away_s: float) -> None:
    redis = RedisServer().start()
    try:
        async with ends(redis.url) as (a, b):
            a.send("before", "9")
            redis.stop()
            await until(lambda: not b.relay._link.listening)
            b.relay.want("9")
            await b.relay.reach(["9"])  # someone is let in by a process that does not hear the others
            owed_at = time.time()
            a.send("meanwhile", "9")
            await asyncio.sleep(away_s)
            redis.start()
            await until(lambda: bool(b.uncertain))
            assert abs(b.uncertain[0] - owed_at) < 0.5
    finally:
        redis.stop()


async def test_what_a_process_could_not_publish_before_it_was_first_heard_on_a_channel_is_known_to_be_missing(
    redis_url: str,
) -> None:
    async with ends(redis_url) as (a, b):

        async def fail() -> None:
            a.relay._link._last.clear()
            raise ConnectionError("cut off from Redis")

        publish, a.relay._link._publish = a.relay._link._publish, fail  # type: ignore[method-assign]
        await until(lambda: a.relay._link.up_since is None)
        b.relay.want("9")
        await b.relay.reach(["9"])
        owed_at = time.time()
        a.send("to nobody", "9")
        a.relay._link._publish = publish  # type: ignore[method-assign]
        await until(lambda: bool(b.uncertain))
        assert abs(b.uncertain[0] - owed_at) < 0.5


async def test_what_a_process_said_before_it_knew_of_another_is_known_to_be_missing(redis_url: str) -> None:
    async with ends(redis_url, 1) as (alone,):
        received, alone.relay.received = alone.relay.received, lambda channel, message: None  # type: ignore[method-assign]
        other = End(redis_url, alone.deployment)
        other.relay.want("1")
        await other.relay.start()
        await other.relay.reach(["1"])
        alone.send("to nobody", "1")
        alone.relay.received = received  # type: ignore[method-assign]
        await until(lambda: bool(other.uncertain))
        assert not other.heard
        await other.relay.stop()


async def test_a_process_that_nobody_ever_heard_of_may_have_lived_while_redis_was_away() -> None:
    redis = RedisServer().start()
    try:
        async with ends(redis.url) as (a, b):
            redis.stop()
            await until(lambda: not a.relay._link.listening and not b.relay._link.listening)
            stopped_at = time.time()
            brief = End(redis.url, a.deployment)
            await brief.relay.start()
            brief.send("heard by nobody", "1")
            await brief.crash()
            redis.start()
            await until(lambda: bool(a.uncertain) and bool(b.uncertain))
            assert stopped_at - 2 < min(a.uncertain[0], b.uncertain[0]) < stopped_at + 0.5
    finally:
        redis.stop()
