"""A process died between making messages durable and moving the head: whoever comes next finds and tells them, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.clients import Person
from models.context import now
from models.messages.document import draft, message_id, payload_hash
from models.messages.store import MessageStore
from server import Server
from tests.support import Crowd, Heard

Json = dict[str, Any]


class Left:
    """A conversation of two with one ordinary message, and `count` more that nobody was told of, from Ada."""

    def __init__(self, ada: Person, ben: Person, conversation: Json, count: int) -> None:
        self.ada, self.ben, self.id, self.count = ada, ben, conversation["id"], count
        self.heard = {person: Heard(person, "chat:message") for person in (ada, ben)}

    async def leave_behind(self, server: Server) -> None:
        await self.ada.call("chat:send", {"conversation_id": self.id, "client_id": "first", "text": "hello"})
        await self.heard[self.ben].wait("chat:message")
        store = MessageStore(server.database)
        for seq in range(2, 2 + self.count):
            text = f"unheard {seq}"
            made = draft(
                self.ada.account.id, f"lost-{seq}", "text", text, now(), origin="a connection that is gone",
                fingerprint=payload_hash(self.id, text, None, []),
            )  # fmt: skip
            document = {"_id": message_id(self.id, seq), "conversation_id": self.id, "seq": seq, **made}
            assert await store.insert(document) == "inserted"
        assert (await self.conversation())["last_seq"] == 1

    async def conversation(self) -> Json:
        found: Json = (await self.ben.call("chat:get", {"conversation_id": self.id}))["conversation"]
        return found

    async def check(self, healed_to: int) -> None:
        """The head has moved, and with one more message as a barrier, all was heard once and in order."""
        conversation = await self.conversation()
        assert conversation["last_seq"] == healed_to
        assert conversation["last_message"]["seq"] == healed_to
        assert conversation["unread"] == healed_to - (1 if healed_to > 1 + self.count else 0)
        sent = await self.ben.call("chat:send", {"conversation_id": self.id, "client_id": "last", "text": "bye"})
        assert sent["message"]["seq"] == healed_to + 1
        await self.ben.call("chat:list", {})
        await self.ada.call("chat:list", {})
        expected = list(range(2, 2 + self.count))
        for person in (self.ada, self.ben):
            seqs = [payload["message"]["seq"] for _, payload in self.heard[person].all]
            assert seqs == sorted(seqs)
            assert [seq for seq in seqs if seq in expected] == expected
        history = await self.ben.call("chat:history", {"conversation_id": self.id})
        assert [message["seq"] for message in history["messages"]] == list(range(1, healed_to + 2))


@pytest.fixture(params=[1, 3], ids=["one", "three"])
async def left(request: pytest.FixtureRequest, server: Server, crowd: Crowd) -> Left:
    ada, ben, conversation = await crowd.pair()
    left = Left(ada, ben, conversation, request.param)
    await left.leave_behind(server)
    return left


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
