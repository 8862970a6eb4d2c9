"""Whether everything is here that others had published before: known for certain, or a no."""

from __future__ import annotations

import asyncio

import pytest

from realtime.relay import relay as relay_module
from tests.cluster.relays import cut_off, ends
from tests.support import until


async def test_whoever_has_caught_up_has_what_others_could_not_publish_either(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "STEADY_S", 0.0)
    async with ends(redis_url) as (a, b):
        assert await b.relay.caught_up()
        publish = a.relay._link._publish
        for number in range(5):
            a.relay._link._publish = cut_off  # type: ignore[method-assign]
            a.send(f"kept {number}", "1")
            assert not await b.relay.caught_up()
            a.relay._link._publish = publish  # type: ignore[method-assign]
            a.send(f"said {number}", "2")
            if await b.relay.caught_up():
                assert f"kept {number}" in b.bodies
            await until(lambda: len(b.bodies) == 2 * (number + 1))  # noqa: B023 - awaited here
            assert all(await asyncio.gather(*(b.relay.caught_up() for _ in range(20))))
        assert not b.uncertain


async def test_whoever_was_cut_off_a_moment_ago_has_not_caught_up(redis_url: str) -> None:
    async with ends(redis_url) as (_, b):
        while not await b.relay.caught_up():
            await asyncio.sleep(0.2)
        b.relay._link.reconnect()
        await until(lambda: not b.relay.peers.following)
        await until(lambda: b.ready(1))
        assert not await b.relay.caught_up()
