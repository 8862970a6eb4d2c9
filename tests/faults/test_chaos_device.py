"""The devices of the chaos harness against a real server: one that resumes gets what it missed without asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from engineio.payload import Payload

from bench.chaos.device import Device
from bench.chaos.journal import Handed, Up
from bench.chaos.proxy import Proxy
from bench.clients import CHAT, ConnectionDroppedError, Json, Person
from realtime.clients import PYTHON_PACKETS_MAX
from tests.support import Crowd, until

MISSED = 40  # more than PYTHON_PACKETS_MAX
POLLING, WEBSOCKET, BOTH = ("polling",), ("websocket",), ("polling", "websocket")


class Scene:
    """Ada, who is well connected, and a device of Ben's behind a proxy, in one conversation."""

    def __init__(self, ada: Person, device: Device, proxy: Proxy, conversation: Json) -> None:
        self.ada, self.device, self.proxy, self.conversation = ada, device, proxy, conversation

    async def say(self, number: int) -> None:
        payload = {"conversation_id": self.conversation["id"], "client_id": f"s{number}", "text": f"number {number}"}
        await self.ada.call("chat:send", payload)

    async def gone(self) -> None:
        """It is cut off, and comes back when something more was said."""
        ups = len(self.ups)
        self.proxy.home, home = 1, self.proxy.home  # where nobody answers
        self.proxy.cut()
        await until(lambda: not self.device.up)
        for number in range(2, MISSED + 2):
            await self.say(number)
        self.proxy.home = home
        await until(lambda: len(self.ups) > ups)
        await self.say(MISSED + 2)

    @property
    def ups(self) -> list[Up]:
        return [record for record in self.device.journal.records if isinstance(record, Up)]

    @property
    def handed(self) -> list[tuple[int, str]]:
        return [(record.message.seq, record.by) for record in self.device.journal.records if isinstance(record, Handed)]


@pytest.fixture(params=[(ways, resumes) for ways in (WEBSOCKET, POLLING, BOTH) for resumes in (True, False)])
async def scene(
    crowd: Crowd, url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    # As a client has it that is not in one process with our server.
    monkeypatch.setattr(Payload, "max_decode_packets", PYTHON_PACKETS_MAX)
    transports, resumes = request.param
    ada, account = await crowd.person("Ada", ("/chat",)), await crowd.account("Ben")
    proxy = Proxy(lambda home: home, int(url.rpartition(":")[2]))
    await proxy.start()
    device = Device("ben-a", proxy.url, account, transports, resumes)
    await device.connect()
    payload = {"type": "group", "participant_ids": [account.id], "title": "Coffee", "client_id": "coffee"}
    conversation = (await ada.call("chat:create", payload))["conversation"]
    yield Scene(ada, device, proxy, conversation)
    await device.close()
    await proxy.stop()


async def test_one_that_comes_back_has_everything_and_asks_only_if_it_must(scene: Scene) -> None:
    await scene.say(1)
    await until(lambda: scene.handed == [(1, "event")])
    await scene.gone()
    await until(lambda: len(scene.handed) == MISSED + 2)
    first, second = scene.ups
    how = "event" if scene.device.resumes else "fetch"
    assert second.continues == (first.connection if scene.device.resumes else 0)
    assert scene.handed[: MISSED + 1] == [(1, "event"), *((number, how) for number in range(2, MISSED + 2))]
    assert scene.device.journal.lives()[second.connection] == (first if scene.device.resumes else second).connection


async def test_a_send_without_an_answer_is_looked_for(scene: Scene) -> None:
    """Its own device hears no event of it, so nobody else would tell."""
    payload = {"conversation_id": scene.conversation["id"], "client_id": "doubt", "text": "is it there?"}
    sent = asyncio.create_task(scene.device._attempt("chat:send", payload, CHAT))
    frozen = [asyncio.create_task(line.freeze(("to_client",), 60)) for line in scene.proxy.lines]
    await until(lambda: scene.ada.cursors.get(scene.conversation["id"]) == 1)
    scene.proxy.cut()
    with pytest.raises(ConnectionDroppedError):
        await sent
    await until(lambda: scene.handed == [(1, "fetch")])
    for task in frozen:
        task.cancel()
