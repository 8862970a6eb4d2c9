"""By which channels an event goes to other processes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from realtime.managers import EVENT
from realtime.relay.relay import ALL
from settings import Settings
from tests.support import Crowd, group, serving


@pytest.mark.parametrize("members", [3, 6])  # as many as an event may have channels of its own, and more
async def test_what_the_members_of_a_group_are_told_goes_one_way_whatever_each_of_them_sees(
    settings: Settings, mongo_url: str, redis_url: str, members: int
) -> None:
    """Between channels is no order: the title before last must not come last."""
    async with serving(replace(settings, redis_url=redis_url), mongo_url) as (server, url):
        crowd = Crowd(url)
        ada, ben, *others = [await crowd.person(f"P{number}", ("/chat",)) for number in range(members)]
        trade = {"conversation_id": (await group(ada, ben, *others))["id"]}
        await ada.call("chat:send", {**trade, "client_id": "one", "text": "hello"})
        await ben.call("chat:read", {**trade, "seq": 1})
        relay = server.adapter._relay  # type: ignore[union-attr]
        send, ways = relay.send, []

        def listen(topic: bytes, channels: Collection[str], names: bytes, body: bytes) -> int:
            if topic == EVENT and b'"chat:conversation"' in body:
                ways.append((names.decode().partition(" ")[2].split(","), list(channels)))
            return send(topic, channels, names, body)

        relay.send = listen  # type: ignore[method-assign]
        await ada.call("chat:update", {**trade, "title": "Tea"})
        assert sorted(len(rooms) for rooms, _ in ways) == [1, 1, members - 2]  # Ada, Ben, the others
        assert [channels for _, channels in ways] == [[ALL]] * 3
        await crowd.close()
