"""No page of a search looks at more than so many messages, nor at many without a turn for others; and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from bench.clients import Person
from contract.types import TEXT_CHARS_MAX
from models.context import now
from models.messages import finding
from models.messages import search as searching
from models.messages.document import BLOCK, draft, placed
from models.messages.store import MessageStore, WordStore
from models.messages.words import Query
from server import Server
from tests.support import Crowd, direct, group

Json = dict[str, Any]


async def plant(server: Server, conversation_id: str, person: Person, *texts: str, after: int = 0) -> None:
    """Messages that are indexed, a millisecond apart, the first one of this moment."""
    begun = now()
    made = [
        draft(
            person.account.id, f"{conversation_id} {after + place}", "text", said, begun + timedelta(milliseconds=place)
        )
        for place, said in enumerate(texts)
    ]  # fmt: skip
    documents = [placed(conversation_id, seq, message) for seq, message in enumerate(made, after + 1)]
    assert await MessageStore(server.database).append(documents) == (len(documents), None)
    server.domain.conversations.outrun(conversation_id)
    await server.domain.conversations._store.mover.settle(conversation_id)


class Looked:
    """How many blocks were read, and how much was compared between two turns of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blocks = self.words = self.words_max = 0
        read, matches = WordStore.read, Query.matches

        async def read_counted(store: WordStore, keys: Any) -> list[Json]:
            found = await read(store, keys)
            self.blocks += len(found)
            return found

        def matches_counted(query: Query, pieces: list[str]) -> bool:
            self.words += len(pieces)
            self.words_max = max(self.words_max, self.words)
            return matches(query, pieces)

        monkeypatch.setattr(WordStore, "read", read_counted)
        monkeypatch.setattr(Query, "matches", matches_counted)

    @asynccontextmanager
    async def turning(self) -> AsyncIterator[None]:
        async def turn() -> None:
            while True:
                self.words = 0
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        yield
        turning.cancel()


async def pages(person: Person, query: str, **options: Any) -> AsyncIterator[list[Json]]:
    cursor = None
    while True:
        page = await person.call("chat:search", {"query": query, "cursor": cursor, **options})
        yield page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


async def test_a_page_is_over_when_it_has_looked_at_enough(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "BLOCKS_MAX", 2)
    ada, ben, conversation = await crowd.pair()
    texts = [f"crates of lemons {number}" + (" today" if number % 200 == 0 else "") for number in range(7 * BLOCK + 5)]
    await plant(server, conversation["id"], ada, *texts)
    for options in ({}, {"conversation_id": conversation["id"]}):
        looked = Looked(monkeypatch)
        found: list[str] = []
        counts = []
        async for items in pages(ben, "lemons today", **options):
            assert looked.blocks <= 2
            looked.blocks = 0
            counts.append(len(items))
            found += [item["text"] for item in items]
        assert found == [text for text in reversed(texts) if "today" in text]
        assert len(counts) == 4
        assert 0 in counts, "one without any, and yet with a next"
        found = [item["text"] async for items in pages(ben, "lemons", limit=7, **options) for item in items]
        assert found == texts[::-1]


async def test_long_texts_are_compared_a_piece_at_a_time(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben, conversation = await crowd.pair()
    words = [f"w{number:03}" for number in range(TEXT_CHARS_MAX // 5)]
    await plant(server, conversation["id"], ada, *[" ".join(words)] * (2 * BLOCK))
    looked = Looked(monkeypatch)
    async with looked.turning():
        page = await ben.call("chat:search", {"query": "w001 nowhere"})
    assert page["items"] == []
    looked.words_max = 0
    async with looked.turning():
        page = await ben.call("chat:search", {"query": "w001 w002"})
    assert len(page["items"]) == 20
    of_one = len(words)
    assert of_one <= looked.words_max <= finding.PIECE / 2 + of_one, "of 128 texts"


@pytest.mark.parametrize("blocks", [1, 2, 3, 64])
async def test_every_hit_comes_once_however_much_a_page_may_look_at(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    monkeypatch.setattr(searching, "BLOCKS_MAX", blocks)
    monkeypatch.setattr(searching, "BATCH", 3)
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    made = [await direct(ada, ben), *[await group(ada, ben) for _ in range(6)]]
    expected = set()
    for number, conversation in enumerate(made):
        texts = [f"lemon {number}.{place}" for place in range((number % 3) * BLOCK + 3)]
        await plant(server, conversation["id"], ada, *texts)
        expected.update(texts)
    found = [item["text"] async for items in pages(ben, "lemon", limit=40) for item in items]
    assert len(found) == len(expected)
    assert set(found) == expected


async def test_what_is_said_and_left_between_two_pages_repeats_and_hides_nothing(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that was small enough and is not any more; and a conversation that is left in the middle."""
    monkeypatch.setattr(searching, "BLOCKS_MAX", 3)
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    made = [await group(ada, ben) for _ in range(3)]
    before = set()
    for number, conversation in enumerate(made):
        texts = [f"lemon {number}.{place}" for place in range(10)]
        await plant(server, conversation["id"], ada, *texts)
        before.update(texts)
    seen: list[str] = []
    async for items in pages(ben, "lemon", limit=5):
        if not seen:
            for conversation in made:
                more = [f"lemon later {place}" for place in range(2 * BLOCK)]
                await plant(server, conversation["id"], ada, *more, after=10)
        seen += [item["text"] for item in items]
    assert len(seen) == len(set(seen)) == len(before)
    assert set(seen) == before, "what was said later than the first page is above it"

    in_others: list[str] = []
    left = made[2]["id"]
    async for items in pages(ben, "lemon", limit=50):
        if items and items[-1]["conversation_id"] == left:
            await ben.call("chat:members", {"conversation_id": left, "remove": [ben.account.id]})
        in_others += [item["id"] for item in items if item["conversation_id"] != left]
    assert len(in_others) == len(set(in_others)) == 2 * (10 + 2 * BLOCK)


async def test_many_conversations_are_looked_at_a_few_batches_at_a_time(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "BATCH", 1)
    monkeypatch.setattr(searching, "BATCHES_MAX", 2)
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    oldest = await direct(ada, ben)
    await plant(server, oldest["id"], ada, "lemon")
    for _ in range(5):
        await group(ada, ben)
    counts = [len(items) async for items in pages(ben, "lemon")]
    assert counts == [0, 0, 1]
