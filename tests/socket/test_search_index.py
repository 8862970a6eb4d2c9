"""Search's index follows what happens to messages: no word of a text that is gone stays in it, whoever dies."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from contract import chat
from models.context import Context, new_id, now
from models.messages import search as searching
from models.messages.document import draft, message_id, placed
from models.messages.rebuilding import MARKED_FOR
from models.messages.store import MessageStore
from server import Server
from settings import Settings
from storage.mongo import Database, Document
from tests.socket.test_search import found, say, stored
from tests.support import PATIENCE_S, Crowd, direct, group, serving

Json = dict[str, Any]


async def index_of(server: Server) -> tuple[list[Document], str]:
    """The documents, and all that is in them as text."""
    blocks = await server.database.collection("message_words").find().to_list(None)
    return blocks, str(blocks)


async def until_index(server: Server, *, lacks: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while lacks in (await index_of(server))[1]:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("indexed", [False, True], ids=["at once", "from the index"])
@pytest.mark.parametrize("gone", ["edited", "deleted"])
async def test_no_word_of_a_text_that_is_gone_stays(server: Server, crowd: Crowd, indexed: bool, gone: str) -> None:
    ada, ben, conversation = await crowd.pair()
    _, secret = await say(ada, conversation["id"], "apples here", "zanzibar 東京へ")
    if indexed:
        await stored(server)
        assert "zanzibar" in (await index_of(server))[1]
    if gone == "edited":
        await ada.call("chat:edit", {"message_id": secret["id"], "text": "apples there"})
    else:
        await ada.call("chat:delete", {"message_id": secret["id"]})
    for _ in range(2):
        assert await found(ben, "zanzibar") == await found(ben, "東") == []
        assert sorted(await found(ben, "apples")) == ["apples here", "apples there"][: 2 if gone == "edited" else 1]
        await stored(server)  # what is indexed only now must not bring the old words back
    blocks, text = await index_of(server)
    assert not any(word in text for word in ("zanzibar", "東", "京", "へ"))
    assert all("changing" not in block and "marked_at" not in block and "look" not in block for block in blocks)
    await server.domain.conversations._store.mover._index.add(
        [placed(conversation["id"], 2, draft(ada.account.id, "late", "text", "zanzibar 東京へ", now()))]
    )  # by a process that was frozen since before the change
    assert "zanzibar" not in (await index_of(server))[1]


async def test_many_edits_at_once_leave_the_last_text(server: Server, crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    other = await crowd.connect(ada.account)
    messages = await say(ada, conversation["id"], *[f"first {number}" for number in range(4)])
    edits = [
        device.call("chat:edit", {"message_id": message["id"], "text": f"word{number} {device is ada}"})
        for number in range(6)
        for message in messages
        for device in (ada, other)
    ]
    await asyncio.gather(*edits, say(ben, conversation["id"], "meanwhile"))
    await stored(server)
    history = (await ben.call("chat:history", {"conversation_id": conversation["id"]}))["messages"]
    blocks, _ = await index_of(server)
    assert [block.get("changing", []) for block in blocks] == [[]]
    lines = {line["seq"]: line["words"] for block in blocks for line in block["lines"]}
    assert lines == {message["seq"]: message["text"].lower().split() for message in history}
    assert set(blocks[0]["words"]) == {word for words in lines.values() for word in words}


async def test_a_process_that_dies_in_a_change_leaves_nothing(server: Server, crowd: Crowd) -> None:
    """Marked and never changed; changed and the words never rebuilt: search is right at once, the index soon."""
    ada, ben, conversation = await crowd.pair()
    await say(ada, conversation["id"], "mango one", "mango two", "mango three")
    await stored(server)
    store, indexing = server.domain.messages._store, server.domain.indexing
    first, second, _ = await store.range(conversation["id"], 0, 3)
    for message in (first, second):
        await indexing.changing(message, new_id("mark"))
    await store.replace(second, {"text": "cherry", "edited_at": now()}, now())
    assert sorted(await found(ben, "mango")) == ["mango one", "mango three"]
    assert await found(ben, "cherry") == ["cherry"]
    await indexing.tidy()  # too soon: those who marked it may still be about to change it
    assert "'two'" in (await index_of(server))[1]
    # Time goes on, and the job is due.
    index, jobs = (server.database.collection(name) for name in ("message_words", "jobs"))
    moved = {"$set": {"marked_at": now() - MARKED_FOR - timedelta(seconds=1)}}
    assert (await index.update_one({"conversation_id": conversation["id"]}, moved)).modified_count == 1
    await jobs.update_one({"_id": "schedule:upkeep.words"}, {"$set": {"run_at": now()}})
    await until_index(server, lacks="'two'")
    assert "changing" not in (await index_of(server))[1]
    assert sorted(await found(ben, "mango")) == ["mango one", "mango three"]
    assert await found(ben, "cherry") == ["cherry"]


async def test_a_change_whose_mark_is_of_another_stays_marked(server: Server, crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    [message] = await say(ada, conversation["id"], "plum")
    await stored(server)
    indexing = server.domain.indexing
    [document] = await server.domain.messages._store.range(conversation["id"], 0, 1)
    await indexing.changing(document, "mark of one who is about to change it")
    await ada.call("chat:edit", {"message_id": message["id"], "text": "pear"})
    await stored(server)
    [block] = (await index_of(server))[0]
    assert block["changing"] == [{"seq": 1, "mark": "mark of one who is about to change it"}]
    assert await found(ben, "pear") == ["pear"]
    indexing.changed(document, "mark of one who is about to change it")
    await stored(server)
    [block] = (await index_of(server))[0]
    assert "changing" not in block


async def test_words_that_the_index_has_no_room_for_are_found(server: Server, crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 5000)))
    await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "long", "text": long})
    await say(ada, conversation["id"], "short")
    await stored(server)
    [block] = (await index_of(server))[0]
    assert block["more"]
    assert len(block["words"]) <= 4000
    assert await found(ben, long[4990:4993]) == [long]
    assert await found(ben, long[4993] + long[4990]) == []
    assert await found(ben, "short") == ["short"]


async def plant(server: Server, conversation_id: str, sender_id: str, seqs: range, at: Any) -> None:
    """Messages of one millisecond that nobody was told of."""
    made = [draft(sender_id, f"{conversation_id}-{seq}", "text", f"same moment {seq}", at) for seq in seqs]
    documents = [placed(conversation_id, seq, message) for seq, message in zip(seqs, made, strict=True)]
    assert await MessageStore(server.database).append(documents) == (len(documents), None)


async def pages(server: Server, user_id: str, query: str, limit: int) -> list[str]:
    context = Context(user_id, "s", "user", "r")
    ids: list[str] = []
    payload: Json = {"query": query, "limit": limit}
    while True:
        page = await server.domain.chat.search.search(context, chat.Search(**payload))
        ids += [message.id for message in page.items]
        if page.next_cursor is None:
            return ids
        payload["cursor"] = page.next_cursor


@pytest.mark.parametrize("limit", [4, 50])
async def test_messages_of_one_millisecond_are_in_order(settings: Settings, mongo_url: str, limit: int) -> None:
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        ada, ben, conversation = await crowd.pair()
        other = await group(ada, ben)
        await crowd.close()
        at = now()
        await plant(server, conversation["id"], ada.account.id, range(1, 13), at)
        await plant(server, other["id"], ada.account.id, range(1, 13), at)
    in_order = sorted([(seq, c["id"]) for seq in range(1, 13) for c in (conversation, other)], reverse=True)
    expected = [message_id(conversation_id, seq) for seq, conversation_id in in_order]
    async with serving(settings, mongo_url) as (server, _):
        assert await pages(server, ben.account.id, "moment", limit) == expected
        for document in (conversation, other):
            await server.domain.conversations._store.mover.settle(document["id"])
        assert await pages(server, ben.account.id, "moment", limit) == expected


async def test_conversations_joined_and_left_between_pages_repeat_and_hide_nothing(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "BATCH", 2)
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    made = [await direct(ada, ben)] + [await group(ada, ben, title=f"Group {number}") for number in range(4)]
    for number, conversation in enumerate(made):
        await say(ada, conversation["id"], *[f"lemon {number} {word}" for word in ("one", "two", "three")])
    seen: list[str] = []
    cursor: Json = {}
    for turn in range(100):
        page = await ben.call("chat:search", {"query": "lemon", "limit": 2, **cursor})
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        if turn < 3:
            await group(ada, ben, title=f"New {turn}")
        if turn == 4:  # one that was seen already, so that all those after it move up
            await ben.call("chat:members", {"conversation_id": made[4]["id"], "remove": [ben.account.id]})
    assert len(seen) == len(set(seen)) == 15


@pytest.mark.parametrize("cursor", ["WzAsIiJd", "WyIiLCIiLFsieCIsMSwiYyJdXQ", "not a cursor"])
async def test_a_cursor_that_this_list_did_not_give_is_refused(crowd: Crowd, cursor: str) -> None:
    ada, _, _ = await crowd.pair()
    with pytest.raises(Exception, match="is not one this list gave"):
        await found(ada, "lemon", cursor=cursor)


async def test_the_database_has_what_search_relies_on(settings: Settings, mongo_url: str, server: Server) -> None:
    """An index is in place for each of its queries."""
    database = Database(mongo_url, settings.mongo_db, single=True)
    indexes = await database.collection("message_words").index_information()
    keys = {tuple(name for name, _ in index["key"]) for index in indexes.values()}
    assert {("conversation_id", "words"), ("look",), ("marked_at",)} <= keys
    database.close()
