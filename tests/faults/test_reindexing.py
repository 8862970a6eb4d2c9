"""Migration 1: an index of the first version is rebuilt, whatever stops it and whoever writes to it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.context import now
from models.messages.document import BLOCK, draft, placed
from models.messages.firstwords import first_words
from models.messages.rebuilding import MARKED_FOR
from models.messages.store import MessageStore
from server import Server
from settings import Settings
from storage.migrations import SETTLE_S
from storage.mongo import Collection, Document
from tests.socket.test_search import found, stored
from tests.support import Crowd, direct, group, serving

Json = dict[str, Any]
BLOCKS = 4
CONVERSATIONS = 4
HINDI, CAFE, OLD_EDIT = "मुझे हिन्दी में लिखें", "ein Café in Köln", "edited long ago"


async def first_add(index: Collection, messages: Sequence[Document]) -> None:
    """What a process of the version before writes when it moves a head."""
    for key in dict.fromkeys(map(_first_block, messages)):
        lines = [
            {"seq": message["seq"], "words": first_words(message["text"]), "created_at": message["created_at"]}
            for message in messages
            if _first_block(message) == key
        ]
        change = {
            "$setOnInsert": {"conversation_id": messages[0]["conversation_id"]},
            "$addToSet": {"words": {"$each": list({word for line in lines for word in line["words"]})}},
            "$push": {"lines": {"$each": lines}},
        }
        await index.update_one({"_id": key}, change, upsert=True)


async def first_changed(index: Collection, message: Document) -> None:
    """And before it changes a message."""
    change = {
        "$setOnInsert": {"conversation_id": message["conversation_id"]},
        "$addToSet": {"words": "\0changed", "changed": message["seq"]},
    }
    await index.update_one({"_id": _first_block(message)}, change, upsert=True)


def _first_block(message: Document) -> str:
    return f"{message['conversation_id']}.{(message['seq'] - 1) // BLOCK}"


class Before:
    """Ada, Ben and their conversations, indexed as the version before left them."""

    def __init__(self, crowd: Crowd, accounts: tuple[Any, Any], conversation_ids: list[str]) -> None:
        self.crowd, self.accounts, self.conversation_ids = crowd, accounts, conversation_ids


@pytest.fixture
async def before(settings: Settings, mongo_url: str) -> Before:
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
        made = [await direct(ada, ben)] + [await group(ada, ben, title=f"{n}") for n in range(CONVERSATIONS - 1)]
        left = Before(crowd, (ada.account, ben.account), [conversation["id"] for conversation in made])
        await crowd.close()
    async with serving(settings, mongo_url) as (server, _):
        index, messages = (server.database.collection(name) for name in ("message_words", "messages"))
        for conversation_id in left.conversation_ids:
            await plant(server, conversation_id, ada.account.id)
            await server.domain.conversations._store.mover.settle(conversation_id)
        await index.delete_many({})
        for conversation_id in left.conversation_ids:
            await first_add(index, [one async for one in messages.find({"conversation_id": conversation_id})])
            edited = await messages.find_one({"place": f"{conversation_id}.{1:016}"})
            assert edited is not None
            await first_changed(index, edited)
            await messages.update_one({"_id": edited["_id"]}, {"$set": {"text": OLD_EDIT, "version": 2}})
            conversations = server.database.collection("conversations")
            await conversations.update_one({"_id": conversation_id}, {"$set": {"edited": True}})
        # Settling, so that it does not begin before a test says so.
        state = {"position": None, "steps": 0, "changed": 0, "rounds": 0, "round_changed": 0, "name": "search words"}
        begun = {"$set": {**state, "through_at": now()}, "$unset": {"done_at": ""}}
        await server.database.collection("migrations").update_one({"_id": 1}, begun, upsert=True)
    return left


async def plant(server: Server, conversation_id: str, sender_id: str) -> None:
    texts = {1: "first text", 2: HINDI, 3: CAFE, BLOCK + 3: "secret sauce", BLOCKS * BLOCK: "the last one"}
    documents = [
        placed(conversation_id, seq, draft(sender_id, f"{conversation_id}-{seq}", "text", text, now()))
        for seq in range(1, BLOCKS * BLOCK + 1)
        for text in [texts.get(seq, f"filler {seq}")]
    ]
    assert await MessageStore(server.database).append(documents) == (len(documents), None)


async def begin(server: Server) -> None:
    """The time to settle is over, or there was none."""
    moved = {"$set": {"through_at": datetime.now(UTC) - timedelta(seconds=SETTLE_S + 1)}}
    await server.database.collection("migrations").update_one({"_id": 1}, moved)


async def first_blocks(server: Server) -> int:
    return int(await server.database.collection("message_words").count_documents({"version": {"$exists": False}}))


async def finish(server: Server) -> None:
    """Rounds until nothing is left to do, and what was marked is old."""
    migrations = server.domain.migrations
    migrations._asked_at.clear()
    async with asyncio.timeout(60):
        while not await migrations.done(1):
            await begin(server)
            await migrations.work(30)
            migrations._asked_at.clear()
    index = server.database.collection("message_words")
    moved = {"$set": {"marked_at": now() - MARKED_FOR - timedelta(seconds=1)}}
    await index.update_many({"marked_at": {"$exists": True}}, moved)
    await server.domain.indexing.tidy()


async def check(server: Server, url: str, before: Before) -> None:
    """The index says what the messages say, and nothing else."""
    assert await first_blocks(server) == 0
    blocks = await server.database.collection("message_words").find().to_list(None)
    assert len(blocks) == BLOCKS * CONVERSATIONS
    assert all("changing" not in block for block in blocks)
    store = server.domain.messages._store
    for conversation_id in before.conversation_ids:
        said = {message["seq"]: message["text"] for message in await store.range(conversation_id, 0, 10_000)}
        lines = [line for block in blocks if block["conversation_id"] == conversation_id for line in block["lines"]]
        assert sorted(line["seq"] for line in lines) == list(said)
        assert all(line["words"][-1] == said[line["seq"]].split()[-1].lower() for line in lines if line["seq"] > 3)
    crowd = Crowd(url)
    ben = await crowd.connect(before.accounts[1])
    assert await found(ben, "हिन्दी") == [HINDI] * CONVERSATIONS
    assert await found(ben, "koln cafe") == [CAFE] * CONVERSATIONS
    assert await found(ben, "long ago") == [OLD_EDIT] * CONVERSATIONS
    assert await found(ben, "first") == []
    await crowd.close()


async def test_what_the_first_index_found_is_found_until_it_is_rebuilt(
    settings: Settings, mongo_url: str, before: Before
) -> None:
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        ada, ben = [await crowd.connect(account) for account in before.accounts]
        assert await first_blocks(server) == BLOCKS * CONVERSATIONS
        assert await found(ben, "filler 77") == ["filler 77"] * CONVERSATIONS
        assert await found(ben, "café") == [CAFE] * CONVERSATIONS
        assert await found(ben, "हिन्दी") == [HINDI] * CONVERSATIONS
        assert await found(ben, "long ago") == [OLD_EDIT] * CONVERSATIONS
        assert await found(ben, "first text") == []
        # New messages and changes go to the new version at once, and with them the block that they are in.
        here = before.conversation_ids[0]
        await ada.call("chat:delete", {"message_id": f"{here}.{BLOCK + 3}"})
        await stored(server)
        text = str(await server.database.collection("message_words").find({"conversation_id": here}).to_list(None))
        assert "secret" not in text
        assert await first_blocks(server) == BLOCKS * CONVERSATIONS - 1
        assert await found(ben, "secret") == ["secret sauce"] * (CONVERSATIONS - 1)
        sent = {"conversation_id": here, "client_id": "new", "text": "filler 77 हिन्दी"}
        await ada.call("chat:send", sent)
        assert sorted(await found(ben, "filler 77")) == sorted(["filler 77"] * CONVERSATIONS + ["filler 77 हिन्दी"])
        await crowd.close()


async def test_it_is_a_job_that_does_not_wait_for_anyone(settings: Settings, mongo_url: str, before: Before) -> None:
    async with serving(settings, mongo_url) as (server, url):
        await begin(server)
        await server.database.collection("jobs").update_one(
            {"_id": "schedule:upkeep.migrations"}, {"$set": {"run_at": now()}}
        )
        async with asyncio.timeout(60):
            while await first_blocks(server):
                await asyncio.sleep(0.1)
        await finish(server)
        await check(server, url, before)


async def test_it_bears_interruptions_and_a_second_process(settings: Settings, mongo_url: str, before: Before) -> None:
    async with serving(settings, mongo_url) as (one, url), serving(settings, mongo_url) as (other, _):
        await begin(one)
        total = left = await first_blocks(one)
        while left:  # every run is cut off somewhere in a step
            runs = [asyncio.ensure_future(server.domain.migrations.work(30)) for server in (one, other)]
            async with asyncio.timeout(60):
                while (now_left := await first_blocks(one)) == left and not all(run.done() for run in runs):
                    await asyncio.sleep(0.005)
            for run in runs:
                run.cancel()
            outcomes = await asyncio.gather(*runs, return_exceptions=True)
            assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            left = now_left
        assert total == BLOCKS * CONVERSATIONS
        await finish(one)
        await check(other, url, before)


async def test_a_process_of_the_version_before_may_go_on(settings: Settings, mongo_url: str, before: Before) -> None:
    """It changes messages, indexes others, and is between announcing and making a change when its block is rebuilt."""
    async with serving(settings, mongo_url) as (server, url):
        index, messages = (server.database.collection(name) for name in ("message_words", "messages"))
        edited, late = [
            await messages.find_one({"place": f"{before.conversation_ids[0]}.{seq:016}"}) for seq in (1, BLOCK + 9)
        ]
        assert edited is not None
        assert late is not None
        await first_changed(index, edited)  # which was changed before, so this changes nothing
        await begin(server)
        await server.domain.migrations.work(30)
        assert await first_blocks(server) == 0
        await messages.update_one({"_id": edited["_id"]}, {"$set": {"text": "changed once more", "version": 3}})
        crowd = Crowd(url)
        ben = await crowd.connect(before.accounts[1])
        assert await found(ben, "once more") == ["changed once more"]

        await first_changed(index, late)
        await messages.update_one({"_id": late["_id"]}, {"$set": {"text": "changed late", "version": 2}})
        await first_add(index, [late])  # done again, as after a crash
        assert await found(ben, "changed late") == ["changed late"]
        assert len(await found(ben, f"filler {BLOCK + 9}", limit=50)) == CONVERSATIONS - 1
        await messages.update_one({"_id": edited["_id"]}, {"$set": {"text": OLD_EDIT, "version": 4}})
        await finish(server)
        assert "once" not in str(await index.find().to_list(None))
        await check(server, url, before)
        await crowd.close()
