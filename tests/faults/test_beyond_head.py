"""A process died between making messages durable and telling of them: whoever looks finds them, and all are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from bench.clients import Person
from models.context import fingerprint, now
from models.messages.document import draft, placed
from models.messages.store import MessageStore
from settings import Settings
from storage.mongo import Database
from tests.support import Crowd, Heard, serving

Json = dict[str, Any]


class Left:
    """A conversation of two with one ordinary message, and `count` more that nobody was told of, from Ada."""

    def __init__(self, ada: Person, ben: Person, conversation: Json, count: int) -> None:
        self.ada, self.ben, self.id, self.count = ada, ben, conversation["id"], count
        self.heard = {person: Heard(person, "chat:message", "chat:head") for person in (ada, ben)}

    async def check(self, last_seq: int) -> None:
        """The conversation ends where its messages do, and both were told of that once."""
        conversation: Json = (await self.ben.call("chat:get", {"conversation_id": self.id}))["conversation"]
        assert conversation["last_seq"] == last_seq
        assert conversation["last_message"]["seq"] == last_seq
        assert conversation["unread"] == last_seq - (1 if last_seq > 1 + self.count else 0)
        for person in (self.ada, self.ben):
            assert await self.heard[person].wait("chat:head", conversation_id=self.id, last_seq=1 + self.count)
        sent = await self.ben.call("chat:send", {"conversation_id": self.id, "client_id": "last", "text": "bye"})
        assert sent["message"]["seq"] == last_seq + 1
        await self.heard[self.ada].wait("chat:message", message=sent["message"])
        for person in (self.ada, self.ben):
            names = [name for name, _ in self.heard[person].all]
            assert names.count("chat:head") == 1
            seqs = [payload["message"]["seq"] for name, payload in self.heard[person].all if name == "chat:message"]
            assert seqs == sorted(set(seqs))
        history = await self.ben.call("chat:history", {"conversation_id": self.id})
        assert [message["seq"] for message in history["messages"]] == list(range(1, last_seq + 2))


async def leave_behind(
    url: str, name: str, conversation_id: str, sender_id: str, count: int, mentions: Sequence[str] = ()
) -> None:
    """What a process leaves that dies right after its insert."""
    database = Database(url, name, single=True)
    documents = []
    for seq in range(2, 2 + count):
        text = f"unheard {seq}"
        made = draft(
            sender_id, f"lost-{seq}", "text", text, now(), origin="a connection that is gone",
            mentions=mentions, fingerprint=fingerprint(conversation_id, text, None, list(mentions)),
        )  # fmt: skip
        documents.append(placed(conversation_id, seq, made))
    assert await MessageStore(database).append(documents) == (count, None)
    database.close()


@pytest.fixture(params=[1, 3], ids=["one", "three"])
async def left(request: pytest.FixtureRequest, settings: Settings, mongo_url: str) -> AsyncIterator[Left]:
    async with serving(settings, mongo_url) as (_, url):
        crowd = Crowd(url)
        ada, ben, conversation = await crowd.pair()
        await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "first", "text": "hello"})
        accounts = ada.account, ben.account
        await crowd.close()
    await leave_behind(mongo_url, settings.mongo_db, conversation["id"], accounts[0].id, request.param)
    async with serving(settings, mongo_url) as (_, url):
        crowd = Crowd(url)
        yield Left(await crowd.connect(accounts[0]), await crowd.connect(accounts[1]), conversation, request.param)
        await crowd.close()


async def test_a_sync_finds_them(left: Left) -> None:
    missed = await left.ben.call("chat:sync", {"cursors": {left.id: 1}})
    (entry,) = missed["conversations"]
    assert [message["seq"] for message in entry["messages"]] == list(range(2, 2 + left.count))
    assert entry["conversation"]["last_seq"] == 1 + left.count
    await left.check(1 + left.count)


async def test_opening_the_conversation_finds_them(left: Left) -> None:
    opened = await left.ben.call("chat:join", {"conversation_id": left.id, "since_seq": 1})
    assert [message["seq"] for message in opened["messages"]] == list(range(2, 2 + left.count))
    assert opened["conversation"]["last_seq"] == 1 + left.count
    await left.check(1 + left.count)


async def test_the_next_send_goes_after_them(left: Left) -> None:
    payload = {"conversation_id": left.id, "client_id": "next", "text": "still there?"}
    sent = await left.ben.call("chat:send", payload)
    assert sent["message"]["seq"] == 2 + left.count
    assert "duplicate" not in sent
    await left.check(2 + left.count)


async def test_the_retry_of_the_sender_returns_the_one_it_made(left: Left) -> None:
    last = 1 + left.count
    payload = {"conversation_id": left.id, "client_id": f"lost-{last}", "text": f"unheard {last}"}
    for _ in range(2):
        again = await left.ada.call("chat:send", payload)
        assert (again["message"]["seq"], again["duplicate"]) == (last, True)
    await left.check(last)


async def test_two_who_find_them_at_once_tell_once(left: Left) -> None:
    await asyncio.gather(
        left.ben.call("chat:sync", {"cursors": {left.id: 1}}),
        left.ada.call("chat:sync", {"cursors": {left.id: 1}}),
        left.ada.call("chat:join", {"conversation_id": left.id}),
    )
    await left.check(1 + left.count)
