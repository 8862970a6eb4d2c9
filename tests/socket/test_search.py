"""Search finds what was said a moment ago and long ago, as it reads now, and only what the caller may see."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.clients import CommandError, Person
from models.messages.document import BLOCK
from server import Server
from tests.support import PATIENCE_S, Crowd, group

Json = dict[str, Any]


async def stored(server: Server) -> None:
    """The stored heads have come to the last message, and the index with them and to the last change."""
    async with asyncio.timeout(PATIENCE_S):
        while server.domain.conversations._store.mover.heads.pending or server.domain.indexing._following is not None:
            await asyncio.sleep(0.02)


async def say(person: Person, conversation: str, *texts: str) -> list[Json]:
    answers = [
        person.call("chat:send", {"conversation_id": conversation, "client_id": f"{text}-{number}", "text": text})
        for number, text in enumerate(texts)
    ]
    return [answer["message"] for answer in await asyncio.gather(*answers)]


async def found(person: Person, query: str, **options: Any) -> list[str]:
    items = (await person.call("chat:search", {"query": query, **options}))["items"]
    return [item["text"] for item in items]


@pytest.mark.parametrize("indexed", [False, True], ids=["at once", "from the index"])
async def test_words_beginnings_and_their_combination(server: Server, crowd: Crowd, indexed: bool) -> None:
    ada, ben, conversation = await crowd.pair()
    await say(ada, conversation["id"], "Green coffee, washed", "green TEA", "Nothing of the kind")
    if indexed:
        await stored(server)
    assert sorted(await found(ben, "green")) == ["Green coffee, washed", "green TEA"]
    assert await found(ben, "gree wash") == ["Green coffee, washed"]
    assert await found(ben, "tea green", conversation_id=conversation["id"]) == ["green TEA"]
    assert await found(ben, "reen") == []
    assert await found(ben, "greenest") == []


@pytest.mark.parametrize("indexed", [False, True], ids=["at once", "from the index"])
async def test_a_message_is_found_by_what_it_says_now(server: Server, crowd: Crowd, indexed: bool) -> None:
    ada, ben, conversation = await crowd.pair()
    kept, edited, deleted = await say(ada, conversation["id"], "apples here", "apples there", "apples gone")
    if indexed:
        await stored(server)
    await ada.call("chat:edit", {"message_id": edited["id"], "text": "pears there"})
    await ada.call("chat:delete", {"message_id": deleted["id"]})
    for _ in range(2):
        assert await found(ben, "apples") == [kept["text"]]
        assert await found(ben, "pears") == ["pears there"]
        await stored(server)  # what was indexed only now is as it was before the edit


async def test_a_change_is_found_whose_block_is_rebuilt_between_two_looks_at_it(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben, conversation = await crowd.pair()
    (said,) = await say(ada, conversation["id"], "apples there")
    await stored(server)
    indexing = server.domain.indexing
    monkeypatch.setattr(indexing, "changed", lambda *_: None)  # the block is not rebuilt yet
    await ada.call("chat:edit", {"message_id": said["id"], "text": "pears there"})
    find, looks = indexing._blocks._find, []

    async def find_and_rebuild(query: Json, fields: Json) -> list[Json]:
        blocks = await find(query, fields)
        if not isinstance(query.get("look"), dict):  # which conversations to look at is asked before
            looks.append(query)
            if len(looks) == 1:
                (block,) = await find({"conversation_id": conversation["id"]}, {"changing": 1})
                await indexing._rebuilding.rebuild(conversation["id"], 0, {each["mark"] for each in block["changing"]})
        return blocks

    monkeypatch.setattr(indexing._blocks, "_find", find_and_rebuild)
    assert await found(ben, "pears") == ["pears there"]
    assert len(looks) > 1


async def test_nobody_finds_what_was_said_before_they_came(server: Server, crowd: Crowd) -> None:
    ada, ben, cleo = await crowd.person("Ada"), await crowd.person("Ben"), await crowd.person("Cleo")
    conversation = await group(ada, ben)
    await say(ada, conversation["id"], "secret price")
    await stored(server)
    await ada.call("chat:members", {"conversation_id": conversation["id"], "add": [cleo.account.id]})
    await say(ada, conversation["id"], "public price")
    assert sorted(await found(ben, "price")) == ["public price", "secret price"]
    assert await found(cleo, "price") == ["public price"]
    stranger = await crowd.person("Dan")
    assert await found(stranger, "price") == []


async def test_pages_over_many_blocks_have_every_hit_once(server: Server, crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    count = 2 * BLOCK + 10
    texts = [f"crate {number}" if number % 2 else f"pallet {number}" for number in range(count)]
    for first in range(0, count, 50):
        await say(ada, conversation["id"], *texts[first : first + 50])
        await stored(server)
    seqs: list[int] = []
    cursor: Json = {}
    while True:
        page = await ben.call("chat:search", {"query": "crate", "limit": 20, **cursor})
        seqs += [item["seq"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seqs) == len(set(seqs)) == count // 2


async def test_what_is_indexed_twice_is_found_once(server: Server, crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    await say(ada, conversation["id"], "twice told")
    await stored(server)
    store = server.domain.conversations._store
    await store.mover._index.add(
        await store.mover._tail.range(conversation["id"], 0, 1)
    )  # as after a crash before the head moved
    assert await found(ben, "twice") == ["twice told"]


SCRIPTS = {
    "मुझे हिन्दी में लिखें": ["हिन्दी", "लिखें", "हिन"],
    "हम न दें": ["हम", "दें"],
    "বাংলায় লিখুন": ["লিখুন"],
    "Depo İstanbul’da": ["istanbul", "ISTANBUL", "ıstanbul"],
    "this is _urgent_ now": ["urgent", "_urgent_"],
    "they don’t know": ["don't", "dont"],
    "Hauptstraße in Köln": ["hauptstrasse", "koln", "KÖLN"],
    "con đường Tiếng Việt": ["duong", "tieng viet"],
    "Οδός Αθηνάς": ["οδος", "ΑΘΗΝΑΣ"],
    "Ёжик в тумане": ["ежик"],
    "قال مُحَمَّدٌ شيئا": ["محمد"],
    "من می‌خواهم بروم": ["میخواهم", "می‌خواهم"],
    "שָׁלוֹם עולם": ["שלום"],
    "เราจะพบกันที่กรุงเทพพรุ่งนี้": ["กรุงเทพ", "พบกัน", "เ"],
    "ខ្ញុំនិយាយភាសាខ្មែរបានល្អ": ["ភាសាខ្មែរ"],
    "我们明天去东京开会": ["东京", "开会", "会"],
    "京东的手机iPhone15": ["京东", "手机", "iphone"],
    "明日はラーメンを食べたい": ["ﾗｰﾒﾝ", "食べ"],
    "안녕하세요 여러분": ["안녕"],
    "for 1,200.50 EUR": ["1200", "1.200,50"],
    "👍🏽": ["👍"],
}


@pytest.mark.parametrize("indexed", [False, True], ids=["at once", "from the index"])
async def test_every_script_is_found_by_its_words_and_by_nothing_else(
    server: Server, crowd: Crowd, indexed: bool
) -> None:
    ada, ben, conversation = await crowd.pair()
    await say(ada, conversation["id"], *SCRIPTS)
    if indexed:
        await stored(server)
    for text, queries in SCRIPTS.items():
        for query in queries:
            assert await found(ben, query) == [text], query


@pytest.mark.parametrize(
    "query", ["एक दो तीन चार पाँच छह सात आठ नौ दस", "我们明天早上八点在东京车站见面，带上合同", "a.b.c.d@e.f.g.h.i.j.k"]
)
async def test_words_of_a_query_are_counted_as_people_count_them(crowd: Crowd, query: str) -> None:
    ada, ben, conversation = await crowd.pair()
    await say(ada, conversation["id"], f"({query})")
    assert await found(ben, query) == [f"({query})"]
    with pytest.raises(CommandError, match="must have one to 10 words"):
        await found(ben, "a b c d e f g h i j k")
    with pytest.raises(CommandError, match="must have one to 10 words"):
        await found(ben, "?!")
