"""What comes late must not be the last that people hear, if it is not how things are."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from settings import Settings
from tests.cluster.relays import cut_off
from tests.support import Crowd, Heard, group, serving, until


@pytest.mark.parametrize("members", [3, 6])  # told by the channels of their own, or by the one that everyone hears
async def test_an_older_state_of_a_conversation_that_comes_late_is_followed_by_the_present_one(
    settings: Settings, mongo_url: str, redis_url: str, members: int
) -> None:
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(serving(replace(settings, redis_url=redis_url), mongo_url))
            for _ in range(3)
        ]
        servers, urls = [server for server, _ in made], [url for _, url in made]
        await until(lambda: all(len(server.adapter._relay.peers) == 2 for server in servers))  # type: ignore[union-attr]
        crowd = Crowd(urls[0])
        accounts = [await crowd.account(f"P{number}") for number in range(members)]
        people = [await crowd.connect(account, url=urls[place % 3]) for place, account in enumerate(accounts)]
        ada, ben, cleo = people[:3]
        heard = Heard(ben, "chat:conversation")
        trade = {"conversation_id": (await group(*people))["id"]}

        def titles() -> list[str | None]:
            return [told["conversation"]["title"] for _, told in heard.all]

        await ada.call("chat:update", {**trade, "title": "Tea"})
        await until(lambda: titles()[-1:] == ["Tea"])
        link = servers[0].adapter._relay._link  # type: ignore[union-attr]
        publish = link._publish
        link._publish = cut_off  # type: ignore[method-assign]
        await ada.call("chat:update", {**trade, "title": "Tea, but late"})
        await cleo.call("chat:update", {**trade, "title": "Cocoa"})
        await until(lambda: titles()[-1] == "Cocoa")
        link._publish = publish  # type: ignore[method-assign]
        await until(lambda: "Tea, but late" in titles())
        await until(lambda: titles()[-1] == "Cocoa")
        await until(lambda: not servers[1].domain.repair.pending())
        assert titles() == ["Coffee", "Tea", "Cocoa", "Tea, but late", "Cocoa"]
        await crowd.close()


async def test_someone_who_has_been_removed_is_not_told_how_a_conversation_is_without_them(
    settings: Settings, mongo_url: str, redis_url: str
) -> None:
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(serving(replace(settings, redis_url=redis_url), mongo_url))
            for _ in range(2)
        ]
        servers, urls = [server for server, _ in made], [url for _, url in made]
        await until(lambda: all(len(server.adapter._relay.peers) == 1 for server in servers))  # type: ignore[union-attr]
        crowd = Crowd(urls[0])
        ada, ben = [await crowd.connect(await crowd.account("Ada"), url=url) for url in urls]
        heard = Heard(ben, "chat:conversation")
        trade = {"conversation_id": (await group(ada, ben))["id"]}
        await heard.wait("chat:conversation")
        heard.all.clear()
        link = servers[0].adapter._relay._link  # type: ignore[union-attr]
        publish = link._publish
        link._publish = cut_off  # type: ignore[method-assign]
        await ada.call("chat:members", {**trade, "remove": [ben.account.id]})
        await ada.call("chat:update", {**trade, "title": "Without Ben"})
        link._publish = publish  # type: ignore[method-assign]
        await until(lambda: bool(heard.all) and not servers[1].domain.repair.pending())
        assert [told["conversation"]["title"] for _, told in heard.all] == ["Coffee"]
        await crowd.close()
