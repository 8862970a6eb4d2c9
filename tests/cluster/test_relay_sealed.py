"""Whoever can write into Redis cannot speak for a process: what it says is dropped, counted and complained of."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest
from redis.asyncio import Redis

from ops.metrics import RELAY
from realtime.relay import client
from realtime.relay.seal import MAC_BYTES, Seal
from tests.cluster.relays import End, ends
from tests.support import PATIENCE_S, until

OLD, NEW = b"the old key", b"the new key"


async def captured(redis: Any, channel: str, act: Any) -> bytes:
    """What is published there by `act`."""
    listening = redis.pubsub()
    await listening.subscribe(channel)
    async with asyncio.timeout(PATIENCE_S):
        async for message in listening.listen():
            if message["type"] == "subscribe":
                act()
            else:
                await listening.aclose()
                return bytes(message["data"])
    raise AssertionError("nothing was published")


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


async def test_what_nobody_of_ours_said_is_dropped(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Redis.from_url(redis_url) as redis, ends(redis_url) as (a, b):
        name = client.prefix_of(a.deployment) + "1"
        real = await captured(redis, name, lambda: a.send("real", "1"))
        await until(lambda: b.bodies == ["real"])
        words = frame(b"T %s 2 99 1 *\nforged" % a.relay.id.encode())
        forged = {
            "as before there was a seal": words,
            "with no seal in it": b"\0" + words,
            "with a seal of nothing": bytes((1,)) + bytes(MAC_BYTES) + words,
            "with more of them than there can be": bytes((200,)) + bytes(200 * MAC_BYTES) + words,
            "of another deployment": Seal([b"another key"]).close(name, words),
            "said elsewhere": Seal([b"a key of the tests"]).close(name + "7", words),
            "altered": real[:-1] + b"L",
            "cut": real[: MAC_BYTES + 1],
            "empty": b"",
        }
        before = RELAY.forged
        for count, data in enumerate(forged.values(), 1):
            await redis.publish(name, data)
            await until(lambda count=count: RELAY.forged == before + 2 * count)  # type: ignore[misc]
        a.send("after all", "1")
        await until(lambda: b.bodies == ["real", "after all"])
    assert caplog.text.count("of no process of this deployment") == 2, "each of the two says so once a minute"


async def test_what_was_said_is_not_heard_again(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis, ends(redis_url) as (a, b):
        prefix = client.prefix_of(a.deployment)
        real = await captured(redis, prefix + "1", lambda: a.send("real", "1"))
        await until(lambda: b.bodies == ["real"])
        before = RELAY.forged
        for _ in range(3):
            await redis.publish(prefix + "1", real)
        await redis.publish(prefix + "2", real)
        await until(lambda: RELAY.forged == before + 2)  # it was not said there
        a.send("after all", "1", "2")
        await until(lambda: "after all" in b.bodies)
        assert b.bodies == ["real", "after all"]


async def test_processes_hear_each_other_while_the_secret_is_replaced(redis_url: str) -> None:
    """One after the other is given the new secret and the old one, and then, one after the other, the new one only."""
    deployment = f"t_{secrets.token_hex(4)}"
    made = {"before": End(redis_url, deployment, OLD), "between": End(redis_url, deployment, NEW, OLD)}
    made["after"] = End(redis_url, deployment, NEW)
    for end in made.values():
        end.relay.want("1")
        await end.relay.start()
    between = made["between"]
    await until(lambda: len(between.relay.peers) == 2)
    await until(lambda: all(len(made[name].relay.peers) == 1 for name in ("before", "after")))
    for name, end in made.items():
        await end.relay.reach(["1"])
        end.send(name, "1")
    await until(lambda: sorted(between.bodies) == ["after", "before"])
    await until(lambda: made["before"].bodies == made["after"].bodies == ["between"])
    for end in made.values():
        await end.relay.stop()
