"""A connection that is resumed on another process is told of all that nobody had told it before, or is not resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.chaos.device import Device
from bench.chaos.journal import Handed, Head, Heard, Up
from bench.chaos.proxy import Proxy
from bench.clients import Json, Person
from models.conversations import repair
from realtime import adapters, handover
from realtime.managers import EVENT
from realtime.recovery import Given
from realtime.relay import relay
from security.secret import make_key
from server import Server
from settings import Settings
from tests.cluster.relays import cut_off
from tests.support import PATIENCE_S, SECRET, Crowd, serving, until

NOWHERE = 1


class Scene:
    """Three processes: Ada is on the first, and Ben's device, which resumes, on the second until it returns."""

    def __init__(self, servers: list[Server], ports: list[int], ada: Person, device: Device, proxy: Proxy) -> None:
        self.servers, self.ports, self.ada, self.device, self.proxy = servers, ports, ada, device, proxy
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.conversation: Json = {}

    async def say(self, text: str) -> None:
        payload = {"conversation_id": self.conversation["id"], "client_id": text, "text": text}
        await self.ada.call("chat:send", payload)

    async def leave(self) -> None:
        self.proxy.home = NOWHERE
        self.proxy.cut()
        await until(lambda: not self.device.up and bool(self.servers[1].sio.recovery.user_ids))

    async def come_back(self, number: int) -> Up:
        count = len(self.ups)
        self.proxy.home = self.ports[number]
        await until(lambda: len(self.ups) > count)
        return self.ups[-1]

    @property
    def ups(self) -> list[Up]:
        return [record for record in self.device.journal.records if isinstance(record, Up)]

    @property
    def handed_by(self) -> list[str]:
        return [record.by for record in self.device.journal.records if isinstance(record, Handed)]

    @property
    def known(self) -> int:
        return self.device.cursors.get(self.conversation["id"], 0)


@pytest.fixture
async def scene(
    settings: Settings, mongo_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    monkeypatch.setattr(relay, "STEADY_S", 0.0)
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(serving(replace(settings, redis_url=redis_url), mongo_url))
            for _ in range(3)
        ]
        servers, ports = [server for server, _ in made], [urlsplit(url).port or 0 for _, url in made]
        await until(lambda: all(len(server.adapter._relay.peers) == 2 for server in servers))  # type: ignore[union-attr]
        crowd = Crowd(made[0][1])
        ada, account = await crowd.person("Ada", ("/chat",)), await crowd.account("Ben")
        proxy = Proxy(lambda home: home, ports[1])
        await proxy.start()
        scene = Scene(servers, ports, ada, Device("ben-a", proxy.url, account, resumes=True), proxy)
        await scene.device.connect()
        payload = {"type": "group", "participant_ids": [account.id], "title": "Coffee", "client_id": "coffee"}
        scene.conversation = (await ada.call("chat:create", payload))["conversation"]
        await scene.say("one")
        await until(lambda: scene.known == 1)
        yield scene
        await scene.device.close()
        await proxy.stop()
        await crowd.close()


async def test_on_another_process_with_everything(scene: Scene) -> None:
    await scene.leave()
    await scene.say("two")
    up = await scene.come_back(2)
    await until(lambda: scene.known == 2)
    assert up.continues


async def test_nothing_again_that_came_to_that_process_late(scene: Scene) -> None:
    crowd = Crowd(scene.urls[2])
    await crowd.connect(scene.device.account, ("/chat",))  # so that the process hears of what is said to Ben
    own, elsewhere = scene.servers[2].adapter._relay, scene.servers[2].sio.recovery.elsewhere  # type: ignore[union-attr]
    assert elsewhere is not None
    deliver, fetch, late = own._topics[EVENT], elsewhere.fetch, []
    own._topics[EVENT] = lambda *publication: late.append(publication)
    await scene.say("two")
    await until(lambda: scene.known == 2 and bool(late))
    await scene.leave()

    async def fetch_behind_it(process: str, pid: str, rooms: list[str], offset: str | None) -> Given | None:
        own._topics[EVENT] = deliver
        for publication in late:
            deliver(*publication)
        return await fetch(process, pid, rooms, offset)

    elsewhere.fetch = fetch_behind_it  # type: ignore[method-assign]
    assert (await scene.come_back(2)).continues
    await scene.say("three")
    await until(lambda: scene.known == 3)
    records = scene.device.journal.records
    assert [record.message.seq for record in records if isinstance(record, Heard)] == [1, 2, 3]
    await crowd.close()


@pytest.mark.parametrize("redis_is_back_for_the_sender", [False, True])
async def test_not_while_something_is_not_published_yet(scene: Scene, redis_is_back_for_the_sender: bool) -> None:
    link = scene.servers[0].adapter._relay._link  # type: ignore[union-attr]
    publish = link._publish
    link._publish = cut_off  # type: ignore[method-assign]
    await scene.leave()
    await scene.say("two")
    if redis_is_back_for_the_sender:
        link._publish = publish  # type: ignore[method-assign]
    up = await scene.come_back(2)
    if not redis_is_back_for_the_sender:
        assert not up.continues
    await until(lambda: scene.known == 2)
    if up.continues:  # it was asked for in time, and must be among what was missed
        assert scene.handed_by == ["event", "event"]
    link._publish = publish  # type: ignore[method-assign]


async def test_not_while_people_are_still_to_be_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "GATHER_S", 3_600.0)
    await scene.leave()
    scene.servers[1].domain.repair.since(0.0)
    assert scene.servers[1].domain.repair.pending()
    assert not (await scene.come_back(2)).continues


async def test_whom_nobody_has_is_known_at_once_though_a_worker_is_there(
    scene: Scene, redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "ANSWER_WAIT_S", 3_600.0)
    worker = adapters.make(redis_url, settings.mongo_db, [make_key(SECRET)])
    await worker.start()
    await until(lambda: all(len(server.adapter._relay.peers) == 3 for server in scene.servers))  # type: ignore[union-attr]
    elsewhere = scene.servers[0].sio.recovery.elsewhere
    assert elsewhere is not None
    assert await asyncio.wait_for(elsewhere.find("nobody", "/chat", "u_nobody"), PATIENCE_S) is None
    await worker.stop()


@pytest.mark.parametrize("when", ["before it asks", "while it asks"])
async def test_not_by_a_process_whose_own_subscription_ended(scene: Scene, when: str) -> None:
    """It may not know of what others said meanwhile, and the answer has it, or it comes to this process later again."""
    own, elsewhere = scene.servers[2].adapter._relay, scene.servers[2].sio.recovery.elsewhere  # type: ignore[union-attr]
    assert elsewhere is not None
    fetch, wait = elsewhere.fetch, elsewhere._wait  # type: ignore[attr-defined]

    async def reconnect() -> None:
        own._link.reconnect()
        await until(lambda: not own.peers.following)

    async def fetch_when_cut(process: str, pid: str, rooms: list[str], offset: str | None) -> Given | None:
        await reconnect()
        return await fetch(process, pid, rooms, offset)

    async def wait_and_be_cut(asked: Any, wait_s: float) -> Any:
        answer = await wait(asked, wait_s)
        if isinstance(answer, Given):
            await reconnect()
            await until(lambda: own.hears(["all"]))
        return answer

    if when == "before it asks":
        elsewhere.fetch = fetch_when_cut  # type: ignore[method-assign]
    else:
        elsewhere._wait = wait_and_be_cut  # type: ignore[attr-defined]
    await scene.leave()
    await scene.say("two")
    assert not (await scene.come_back(2)).continues
    await until(lambda: scene.known == 2)


async def test_on_the_same_process_with_what_it_was_told_meanwhile(scene: Scene) -> None:
    await scene.leave()
    scene.servers[1].domain.repair.since(0.0)
    await until(lambda: not scene.servers[1].domain.repair.pending())
    assert (await scene.come_back(1)).continues
    await until(lambda: any(isinstance(record, Head) for record in scene.device.journal.records))
