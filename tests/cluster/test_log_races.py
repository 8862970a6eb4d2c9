"""Two processes on one conversation, in the one order of their steps that goes wrong if anything does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from models.context import now
from models.conversations import moving
from models.messages.document import draft, placed
from models.messages.store import MessageStore
from server import Server
from settings import Settings
from tests.cluster.test_log import Scene, scene_of
from tests.support import PATIENCE_S, Heard, group

Json = dict[str, Any]


@pytest.fixture
async def two(settings: Settings, mongo_url: str, redis_url: str) -> AsyncIterator[Scene]:
    async with scene_of(2, settings, mongo_url, redis_url) as made:
        yield made


def slow_telling(server: Server, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Each publish of this process takes so long."""
    manager: Any = server.adapter.manager
    original = manager.emit

    async def slow(*args: Any) -> None:
        await original(*args)
        await asyncio.sleep(seconds)

    monkeypatch.setattr(manager, "emit", slow)


async def test_nobody_hears_what_was_said_before_they_came(two: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is told only after they came, because telling takes longer than writing."""
    ada, ben, cleo = await two.person("Ada", False), await two.person("Ben", True), await two.person("Cleo", True)
    at_cleo = Heard(cleo, "chat:message", "chat:conversation")
    place = {"conversation_id": (await group(ben, ada))["id"]}
    await ada.call("chat:send", {**place, "client_id": "first", "text": "secret"})
    slow_telling(two.a, monkeypatch, 0.02)
    burst = [{**place, "client_id": f"m{number}", "text": "secret"} for number in range(40)]
    sends = [asyncio.create_task(ada.call("chat:send", payload)) for payload in burst]
    async with asyncio.timeout(PATIENCE_S):
        while (await ben.call("chat:get", place))["conversation"]["last_seq"] < 1 + len(burst):
            await asyncio.sleep(0.01)
    assert not all(task.done() for task in sends)
    await ben.call("chat:members", {**place, "add": [cleo.account.id]})
    await asyncio.gather(*sends)
    got = (await cleo.call("chat:get", place))["conversation"]
    joined = next(one["joined_seq"] for one in got["participants"] if one["user_id"] == cleo.account.id)
    heard = [payload["message"]["seq"] for name, payload in at_cleo.all if name == "chat:message"]
    assert joined > len(burst)
    assert [seq for seq in heard if seq <= joined] == []


@pytest.mark.parametrize("mover", ["flush", "edit"])
async def test_what_a_dead_process_left_is_told_though_the_head_is_moved_over_it(
    two: Scene, monkeypatch: pytest.MonkeyPatch, mover: str
) -> None:
    """There is no later message whose seq would show that something was missed."""
    monkeypatch.setattr(moving, "FLUSH_S", 3600.0)
    monkeypatch.setattr(moving, "ORPHANED_AFTER", timedelta(seconds=1))
    ada, ben, conversation = await two.pair()
    heard = [Heard(person, "chat:head") for person in (ada, ben)]
    place = {"conversation_id": conversation["id"]}
    await ben.call("chat:send", {**place, "client_id": "b1", "text": "b1"})
    sent = (await ada.call("chat:send", {**place, "client_id": "a2", "text": "a2"}))["message"]
    left = placed(place["conversation_id"], 3, draft(ben.account.id, "lost", "text", "unheard", now()))
    assert await MessageStore(two.a.database).append([left]) == (1, None)
    if mover == "flush":
        await two.a.domain.conversations._store.mover.flush()
    else:
        await ada.call("chat:edit", {"message_id": sent["id"], "text": "edited"})
    for person in (ada, ben):
        assert (await person.call("chat:list", {}))["items"][0]["last_seq"] == 3
    for told in heard:
        await told.wait("chat:head", 5, conversation_id=place["conversation_id"], last_seq=3)


async def test_acks_of_one_connection_come_in_the_order_of_its_sends(
    two: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat needs no telling, and waits for what was sent before it."""
    ada, _, conversation = await two.pair()
    place = {"conversation_id": conversation["id"]}
    slow_telling(two.a, monkeypatch, 0.05)
    order: list[str] = []

    def note(name: str, answer: Json) -> None:
        order.append(name)

    ids = ["one", "one", "two", "three", "one", "four"]
    for number, client_id in enumerate(ids):
        name = f"{number}:{client_id}"
        payload = {**place, "client_id": client_id, "text": client_id}
        await ada._socket.emit(
            "chat:send", payload, namespace="/chat", callback=lambda answer, name=name: note(name, answer)
        )
    async with asyncio.timeout(PATIENCE_S):
        while len(order) < len(ids):
            await asyncio.sleep(0.01)
    assert order == [f"{number}:{client_id}" for number, client_id in enumerate(ids)]
