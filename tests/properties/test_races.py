"""Two things at one moment, in the one order of their steps that goes wrong if anything does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server import Server
from tests.properties.test_mirror import Device
from tests.support import PATIENCE_S, Crowd, Heard, group

Json = dict[str, Any]


@pytest.mark.parametrize("moment", ["while the mark is stored", "before the receipt goes out"])
@pytest.mark.parametrize("sender", ["another", "the reader's other device"])
async def test_unread_is_right_when_a_message_comes_while_one_reads(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch, moment: str, sender: str
) -> None:
    ada = await crowd.person("Ada")
    ben = Device(crowd.rest, await crowd.account("Ben"))
    await ben.connect()
    writer = ada if sender == "another" else await crowd.connect(ben.account)
    created = {"type": "direct", "participant_ids": [ben.account.id], "client_id": "direct"}
    place = {"conversation_id": (await ada.call("chat:create", created))["conversation"]["id"]}
    await ada.call("chat:send", {**place, "client_id": "one", "text": "one"})

    async def write_in_between() -> None:
        monkeypatch.undo()
        await asyncio.wait_for(writer.call("chat:send", {**place, "client_id": "two", "text": "two"}), PATIENCE_S)

    original_mark, original_publish = server.domain.conversations.mark, server.publisher.publish

    async def mark(*arguments: Any) -> None:
        await original_mark(*arguments)
        await write_in_between()

    async def publish(*arguments: Any, **options: Any) -> None:
        await write_in_between()
        await original_publish(*arguments, **options)

    if moment == "while the mark is stored":
        monkeypatch.setattr(server.domain.conversations, "mark", mark)
    else:
        monkeypatch.setattr(server.publisher, "publish", publish)
    await ben.call("chat:read", {**place, "seq": 1}, apply=True)
    (listed,) = (await ben.call("chat:list", {}))["items"]
    assert (listed["last_seq"], listed["unread"]) == (2, 1 if writer is ada else 0)
    try:
        assert ben.mirror.conversations[listed["id"]] == listed
    finally:
        await ben.drop()


class SlowReads:
    """A collection whose first `find_one` has read, and then takes its time to bring the answer."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection
        self.read, self.arrive = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    async def find_one(self, *arguments: Any) -> Any:
        found = await self._collection.find_one(*arguments)
        if not self.read.is_set():
            self.read.set()
            await self.arrive.wait()
        return found


async def test_a_slow_read_does_not_bring_back_who_was_in_a_conversation_before(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben, cleo = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo")]
    heard = Heard(cleo, "chat:message")
    place = {"conversation_id": (await group(ada, ben))["id"]}
    store: Any = server.domain.conversations._store
    slow = SlowReads(store._conversations)
    monkeypatch.setattr(store, "_conversations", slow)
    reading = asyncio.create_task(ben.call("chat:get", place))
    await slow.read.wait()
    await ada.call("chat:members", {**place, "add": [cleo.account.id]})
    slow.arrive.set()
    await reading
    sent = (await ada.call("chat:send", {**place, "client_id": "hello", "text": "hello, Cleo"}))["message"]
    assert (await cleo.call("chat:send", {**place, "client_id": "hi", "text": "hi"}))["message"]["seq"] == 3
    await heard.wait("chat:message", 3, message=sent)


async def test_a_change_of_what_was_before_ones_time_is_not_told(crowd: Crowd) -> None:
    """Whoever was added sees nothing of what was said before: not when it is edited or reacted to, either."""
    ada, ben, cleo = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo")]
    at_ben, at_cleo = (Heard(person, "chat:message_updated") for person in (ben, cleo))
    place = {"conversation_id": (await group(ada, ben))["id"]}
    old = (await ada.call("chat:send", {**place, "client_id": "old", "text": "not for Cleo"}))["message"]
    await ada.call("chat:members", {**place, "add": [cleo.account.id]})
    new = (await ada.call("chat:send", {**place, "client_id": "new", "text": "for all"}))["message"]
    await ben.call("chat:react", {"message_id": old["id"], "emoji": "👍", "on": True})
    await ada.call("chat:edit", {"message_id": old["id"], "text": "still not for Cleo"})
    await ada.call("chat:edit", {"message_id": new["id"], "text": "for all of you"})
    await at_cleo.wait("chat:message_updated")
    await ben.call("chat:list", {})
    assert [told["message"]["id"] for _, told in at_ben.all] == [old["id"], new["id"]]
    assert {told["message"]["id"] for _, told in at_cleo.all} == {new["id"]}
