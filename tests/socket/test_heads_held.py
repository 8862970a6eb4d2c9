"""A conversation whose head the database refuses to store: others do not wait for it, its own people notice nothing."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from bench.clients import Person
from models.conversations import held, moving
from ops.metrics import HEADS_HELD
from server import Server
from tests.support import Crowd, Heard, direct, until

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads move when they are told to."""
    monkeypatch.setattr(moving, "FLUSH_S", 3_600.0)


async def spoil(server: Server, conversation: Json, person: Person, sent: Any = True) -> None:
    """The stored count of this person's messages is one that the database cannot raise, until it is a number again."""
    change = {"$set": {f"members.{person.account.id}.sent": sent}}
    await server.database.collection("conversations").update_one({"_id": conversation["id"]}, change)


async def head(server: Server, conversation: Json) -> int:
    document = await server.database.collection("conversations").find_one({"_id": conversation["id"]})
    assert document is not None
    return int(document["last_seq"])


async def send(person: Person, conversation: Json, text: str) -> Json:
    payload = {"conversation_id": conversation["id"], "client_id": f"{conversation['id']} {text}", "text": text}
    message: Json = (await person.call("chat:send", payload))["message"]
    return message


async def test_the_heads_of_others_move_and_it_is_tried_again_ever_more_seldom(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await crowd.person("Ada")
    others = [await crowd.person(f"P{number}", ("/chat",)) for number in range(4)]
    conversations = [await direct(ada, other) for other in others]
    bad = conversations[1]
    clock = [1_000.0]
    monkeypatch.setattr(held, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    mover = server.domain.conversations._store.mover
    await spoil(server, bad, ada)
    for conversation in conversations:
        await send(ada, conversation, "price of kale")
    with caplog.at_level(logging.WARNING, "parley.conversations"):
        await mover.flush()
        assert [await head(server, conversation) for conversation in conversations] == [1, 0, 1, 1]
        assert HEADS_HELD._value.get() == 1
        for waited_s in (1, 2, 4, 8, 16, 32, 60, 60):
            await send(ada, conversations[0], f"after {clock[0]}")
            clock[0] += waited_s - 0.1  # not yet
            await mover.flush()
            assert bad["id"] in mover.heads.pending
            clock[0] += 0.1
            before = mover._held._until[bad["id"]]
            await mover.flush()
            assert mover._held._until[bad["id"]] > before  # it failed again
    assert len(mover.heads.pending) == 1
    complaints = [record for record in caplog.records if bad["id"] in record.getMessage()]
    assert 2 <= len(complaints) <= 4  # one a minute, of three minutes
    # Who is in it notices nothing.
    seen = (await others[1].call("chat:get", {"conversation_id": bad["id"]}))["conversation"]
    assert (seen["last_seq"], seen["last_message"]["text"]) == (1, "price of kale")
    assert len((await others[1].call("chat:search", {"query": "kale"}))["items"]) == 1
    # Its words were not added again at each attempt.
    blocks = await server.database.collection("message_words").find({"conversation_id": bad["id"]}).to_list(None)
    assert [len(block.get("lines", ())) for block in blocks] == [1]
    await spoil(server, bad, ada, 0)
    clock[0] += 60
    await mover.flush()
    assert await head(server, bad) == 1
    assert HEADS_HELD._value.get() == 0
    assert not mover.heads.pending


async def test_memory_does_not_fill_with_its_messages(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "TAIL_MAX", 3)
    ada, ben, bad = await crowd.pair()
    good = await direct(ada, await crowd.person("Cleo"))
    mover = server.domain.conversations._store.mover
    await spoil(server, bad, ada)
    for text in ("one", "two", "three", "four", "five"):
        await send(ada, good, text)
        await send(ada, bad, text)
        await mover.flush()
    assert len(mover.heads.pending[bad["id"]]) <= 3
    page = await ben.call("chat:join", {"conversation_id": bad["id"]})
    assert [message["text"] for message in page["messages"]] == ["one", "two", "three", "four", "five"]
    assert page["conversation"]["last_seq"] == 5
    await spoil(server, bad, ada, 0)
    mover._held.release(bad["id"])
    while mover.heads.pending:
        await mover.flush()
    assert await head(server, bad) == 5


async def test_messages_of_a_process_that_died_are_read_though_their_head_cannot_be_stored(
    server: Server, crowd: Crowd
) -> None:
    ada, ben, bad = await crowd.pair()
    await send(ada, bad, "one")
    await spoil(server, bad, ada)
    store = server.domain.conversations._store
    store.mover.heads.pending.clear()  # what another process would not know
    store.mover.heads._known.clear()
    store._cache.clear()
    heard = Heard(ben, "chat:message")
    page = await ben.call("chat:join", {"conversation_id": bad["id"]})
    assert [message["text"] for message in page["messages"]] == ["one"]
    sent = await send(ada, bad, "two")
    assert (await heard.wait("chat:message"))["message"] == sent
    assert sent["seq"] == 2
    await until(lambda: bad["id"] in store.mover._looking_again)  # its people are told as soon as it can be stored
