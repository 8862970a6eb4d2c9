"""Two steps of the log in the one order that goes wrong if anything does; and a database that fails in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, NetworkTimeout

from bench.clients import CommandError
from models.conversations import moving
from server import Server
from tests.support import PATIENCE_S, Crowd, Heard, direct, group

Json = dict[str, Any]


class Failing:
    """A collection of which one method fails as often as `left` says."""

    def __init__(self, collection: Any, method: str) -> None:
        self._collection, self._method, self.left = collection, method, 0

    def __getattr__(self, name: str) -> Any:
        original = getattr(self._collection, name)
        if name != self._method:
            return original

        async def call(*arguments: Any, **options: Any) -> Any:
            if self.left:
                self.left -= 1
                raise AutoReconnect("the database went away")
            return await original(*arguments, **options)

        return call


async def test_a_conversation_lives_on_after_the_audience_could_not_be_read(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is durable by then, and acknowledged; those after it are written and told."""
    ada, ben, conversation = await crowd.pair()
    place = {"conversation_id": conversation["id"]}
    await ada.call("chat:send", {**place, "client_id": "one", "text": "one"})
    store: Any = server.domain.conversations._store
    failing = Failing(store._conversations, "find_one")
    monkeypatch.setattr(store, "_conversations", failing)
    original = server.domain.conversations.note

    def note(message: Json) -> None:  # as an edit or a change of members by someone else at this moment does
        original(message)
        store._cache.pop(message["conversation_id"], None)
        failing.left = 1

    monkeypatch.setattr(server.domain.conversations, "note", note)
    first = asyncio.create_task(ada.call("chat:send", {**place, "client_id": "two", "text": "two"}))
    await asyncio.wait([first], timeout=3)
    monkeypatch.setattr(server.domain.conversations, "note", original)
    failing.left = 0
    second = asyncio.create_task(ben.call("chat:send", {**place, "client_id": "three", "text": "three"}))
    _, pending = await asyncio.wait([first, second], timeout=3)
    for task in pending:
        task.cancel()
    assert not pending, "no acknowledgement ever comes"


async def test_a_durable_message_is_acknowledged_once_and_well_though_its_neighbour_fails(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a group is a repeat, and looking it up fails while those before it are still being told."""
    ada, _, conversation = await crowd.pair()
    place = {"conversation_id": conversation["id"]}
    await ada.call("chat:send", {**place, "client_id": "old", "text": "old"})
    messages: Any = server.domain.chat.messages._store
    original_find = messages.find_sent

    async def find_sent(*arguments: Any) -> Any:
        raise AutoReconnect("the database went away")

    audience = server.domain.conversations.audience

    async def slow_audience(*arguments: Any) -> Any:
        await asyncio.sleep(0.1)
        return await audience(*arguments)

    monkeypatch.setattr(messages, "find_sent", find_sent)
    monkeypatch.setattr(server.domain.conversations, "audience", slow_audience)
    answers: list[tuple[str, bool]] = []
    names = ["warm", "new", "old", "newer"]
    for name in names:
        await ada._socket.emit(
            "chat:send", {**place, "client_id": name, "text": name}, namespace="/chat",
            callback=lambda answer, name=name: answers.append((name, answer["ok"])),
        )  # fmt: skip
    async with asyncio.timeout(PATIENCE_S):
        while len(answers) < len(names):
            await asyncio.sleep(0.01)
    monkeypatch.setattr(messages, "find_sent", original_find)
    history = (await ada.call("chat:history", place))["messages"]
    well = [name for name in names if (name, True) in answers]
    assert [message["client_id"] for message in history] == ["old", *well]
    # What came late may be in a group of its own, and is then well.
    assert well in (["warm", "new"], ["warm", "new", "newer"])
    assert len(answers) == len(names)


async def test_an_edit_right_after_a_send_stays_on_the_conversation(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head moves, and brings the copy from before, between the two looks that `touch` takes at it."""
    ada, ben, conversation = await crowd.pair()
    place = {"conversation_id": conversation["id"]}
    store: Any = server.domain.conversations._store
    monkeypatch.setattr(moving, "FLUSH_S", 30.0)
    sent = (await ada.call("chat:send", {**place, "client_id": "one", "text": "one"}))["message"]
    collection = store._conversations

    class Between:
        def __getattr__(self, name: str) -> Any:
            return getattr(collection, name)

        async def update_one(self, query: Json, change: Json) -> Any:
            result = await collection.update_one(query, change)
            if "last_message.version" in query:
                store._conversations = collection
                await store.mover.flush()
            return result

    store._conversations = Between()
    edited = (await ada.call("chat:edit", {"message_id": sent["id"], "text": "edited"}))["message"]
    listed = (await ben.call("chat:list", {}))["items"][0]
    assert listed["last_message"] == edited


async def test_unread_of_someone_who_left_and_came_back(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they said before they left is not counted again, though the head moves over it after they came back."""
    monkeypatch.setattr(moving, "FLUSH_S", 3.0)
    ada, ben, cleo = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo")]
    place = {"conversation_id": (await group(ada, ben, cleo))["id"]}
    for number in range(3):
        await cleo.call("chat:send", {**place, "client_id": f"c{number}", "text": "mine"})
    await ada.call("chat:members", {**place, "remove": [cleo.account.id]})
    await ada.call("chat:members", {**place, "add": [cleo.account.id]})
    await ben.call("chat:send", {**place, "client_id": "b", "text": "welcome"})
    got = (await cleo.call("chat:get", place))["conversation"]
    assert got["unread"] == 2  # "Ada added Cleo", and Ben's


async def test_creating_the_direct_conversation_again_shows_where_it_is(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "FLUSH_S", 3.0)
    ada, ben, conversation = await crowd.pair()
    payload = {"conversation_id": conversation["id"], "client_id": "one", "text": "one"}
    sent = (await ada.call("chat:send", payload))["message"]
    again = await direct(ben, ada)
    assert (again["last_seq"], again["last_message"], again["unread"]) == (1, sent, 1)


async def test_what_was_stored_though_no_answer_came_is_told_though_nobody_repeats_or_looks(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender is gone, and the conversation is quiet."""
    monkeypatch.setattr(moving, "ORPHANED_AFTER", timedelta(seconds=1))
    ada, ben, conversation = await crowd.pair()
    heard = Heard(ben, "chat:message", "chat:head")
    store: Any = server.domain.chat.messages._store
    collection = store._messages

    class NoAnswer:
        def __getattr__(self, name: str) -> Any:
            return getattr(collection, name)

        async def insert_many(self, documents: list[Json], ordered: bool) -> Any:
            store._messages = collection
            await collection.insert_many(documents, ordered=ordered)
            raise NetworkTimeout("the answer did not come")

    store._messages = NoAnswer()
    with pytest.raises(CommandError, match="timeout"):
        await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "a", "text": "a"})
    await heard.wait("chat:head", 5, conversation_id=conversation["id"], last_seq=1)
