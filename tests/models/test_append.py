"""Appending to the log in the real database: groups of many conversations in one call, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.errors import DocumentTooLarge, NetworkTimeout, PyMongoError

from models.context import now
from models.messages.document import INDEXES, draft, placed
from models.messages.store import MessageStore
from settings import Settings
from storage.mongo import Database, Document


class Gate:
    """The real collection; its first `insert_many` waits, so that what comes meanwhile goes in one call."""

    def __init__(self, collection: Any) -> None:
        self.collection = collection
        self.open = asyncio.Event()
        self.calls: list[int] = []
        self.lose_answers = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.collection, name)

    async def insert_many(self, documents: list[Document], ordered: bool) -> Any:
        assert ordered
        self.calls.append(len(documents))
        if len(self.calls) == 1:
            await self.open.wait()
        result = await self.collection.insert_many(documents, ordered=True)
        if self.lose_answers:
            self.lose_answers -= 1
            raise NetworkTimeout("the answer did not come")
        return result


class Scene:
    def __init__(self, store: MessageStore) -> None:
        self.store = store
        self.gate = Gate(store._messages)
        store._messages = self.gate  # type: ignore[assignment]

    async def together(self, *groups: list[Document]) -> list[Any]:
        """All of the groups in one call to the database, whatever it takes after that; their outcomes."""
        first = asyncio.create_task(self.store.append(group("c_first", "f1")))
        await asyncio.sleep(0)
        others = [asyncio.create_task(self.store.append(documents)) for documents in groups]
        await asyncio.sleep(0)
        self.gate.open.set()
        outcomes = await asyncio.gather(*others, return_exceptions=True)
        assert await first == (1, None)
        assert self.gate.calls[:2] == [1, sum(len(documents) for documents in groups)]
        return outcomes

    async def stored(self, conversation_id: str) -> list[str]:
        return [message["client_id"] for message in await self.store.range(conversation_id, 0, 1_000)]


def group(conversation_id: str, *client_ids: str, after: int = 0, sender: str = "u_1") -> list[Document]:
    """Messages that follow each other; the client_id of each is unique to its sender."""
    return [
        placed(conversation_id, seq, draft(sender, client_id, "text", f"text of {client_id}", now()))
        for seq, client_id in enumerate(client_ids, after + 1)
    ]


@pytest.fixture
async def scene(settings: Settings, mongo_url: str) -> AsyncIterator[Scene]:
    database = Database(mongo_url, settings.mongo_db, single=True)
    await database.connect()
    await database.create_indexes(INDEXES)
    yield Scene(MessageStore(database))
    database.close()


async def test_groups_of_many_conversations_go_in_one_call(scene: Scene) -> None:
    names = [f"c_{number}" for number in range(5)]
    groups = [group(name, *[f"{name}-{seq}" for seq in range(number + 1)]) for number, name in enumerate(names)]
    assert await scene.together(*groups) == [(number + 1, None) for number in range(5)]
    assert len(scene.gate.calls) == 2
    for number, name in enumerate(names):
        assert await scene.stored(name) == [f"{name}-{seq}" for seq in range(number + 1)]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("reason", ["seq_taken", "client_id_taken"])
async def test_a_refusal_ends_its_group_only(scene: Scene, place: int, reason: str) -> None:
    wanted = group("c_mid", "m1", "m2", "m3")
    if reason == "client_id_taken":
        other = group("c_old", wanted[place]["client_id"])
    else:  # another process was faster with this place
        other = group("c_mid", "theirs", after=place, sender="u_2")
    await scene.gate.collection.insert_many(other)
    before, after = group("c_before", "b1", "b2"), group("c_after", "a1", "a2")
    assert await scene.together(before, wanted, after) == [(2, None), (place, reason), (2, None)]
    mine = [message for message in await scene.store.range("c_mid", 0, 9) if message["sender_id"] == "u_1"]
    assert [message["seq"] for message in mine] == list(range(1, place + 1))
    assert await scene.stored("c_before") == ["b1", "b2"]
    assert await scene.stored("c_after") == ["a1", "a2"]


async def test_every_group_may_be_refused_and_each_hears_its_own_reason(scene: Scene) -> None:
    await scene.gate.collection.insert_many(
        group("c_1", "theirs", sender="u_2") + group("c_2", "theirs too", after=1, sender="u_2") + group("c_x", "taken")
    )
    wanted = [group("c_1", "a"), group("c_2", "b", "c"), group("c_3", "taken", "d"), group("c_4", "e", "taken")]
    assert await scene.together(*wanted) == [
        (0, "seq_taken"), (1, "seq_taken"), (0, "client_id_taken"), (1, "client_id_taken"),
    ]  # fmt: skip
    assert [await scene.stored(name) for name in ("c_3", "c_4")] == [[], ["e"]]


async def test_a_client_id_twice_in_one_group_and_in_two_groups_of_one_call(scene: Scene) -> None:
    outcomes = await scene.together(group("c_1", "x", "x", "y"), group("c_2", "z"), group("c_3", "z", "w"))
    assert outcomes == [(1, "client_id_taken"), (1, None), (0, "client_id_taken")]
    assert [await scene.stored(name) for name in ("c_1", "c_2", "c_3")] == [["x"], ["z"], []]


async def test_the_same_message_again_is_refused_and_changes_nothing(scene: Scene) -> None:
    """As after an answer that did not come. By place or by client_id, whichever the database looks at first."""
    assert await scene.together(group("c_1", "x", "y")) == [(2, None)]
    count, reason = await scene.store.append(group("c_1", "x", "y"))
    assert (count, reason) in ((0, "seq_taken"), (0, "client_id_taken"))
    assert await scene.store.append(group("c_1", "x", after=2)) == (0, "client_id_taken")
    assert await scene.stored("c_1") == ["x", "y"]


async def test_an_answer_that_did_not_come_is_success_for_nobody(scene: Scene) -> None:
    """All was stored, and nobody knows: everyone in that call hears so, and only they."""
    first = asyncio.create_task(scene.store.append(group("c_0", "0")))
    scene.gate.open.set()
    assert await first == (1, None)
    scene.gate.lose_answers = 1
    groups = group("c_1", "x"), group("c_2", "y")
    outcomes = await asyncio.gather(*[scene.store.append(each) for each in groups], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NetworkTimeout, NetworkTimeout]
    assert await scene.store.append(group("c_3", "z")) == (1, None)
    assert [await scene.stored(name) for name in ("c_1", "c_2", "c_3")] == [["x"], ["y"], ["z"]]


async def test_after_a_refusal_an_answer_that_did_not_come_keeps_what_was_decided_before(scene: Scene) -> None:
    await scene.gate.collection.insert_many(group("c_x", "taken"))

    async def lose_the_next(documents: list[Document], ordered: bool) -> Any:
        scene.gate.lose_answers = 1 if len(documents) == 2 else 0
        return await Gate.insert_many(scene.gate, documents, ordered)

    scene.gate.insert_many = lose_the_next  # type: ignore[method-assign]
    outcomes = await scene.together(group("c_1", "a"), group("c_2", "taken"), group("c_3", "b"), group("c_4", "c"))
    assert outcomes[:2] == [(1, None), (0, "client_id_taken")]
    assert [type(outcome) for outcome in outcomes[2:]] == [NetworkTimeout, NetworkTimeout]


async def test_a_document_that_cannot_be_stored_is_told_as_success_to_nobody_and_ends_nothing(scene: Scene) -> None:
    """17 MB: more than the database takes. The limits of the contract keep this from happening."""
    broken = group("c_2", "b1", "b2", "b3")
    broken[1]["text"] = "x" * (17 * 1024 * 1024)
    wanted = {"c_1": group("c_1", "a1"), "c_2": broken, "c_3": group("c_3", "d1")}
    outcomes = dict(zip(wanted, await scene.together(*wanted.values()), strict=True))
    assert isinstance(outcomes["c_2"], PyMongoError)
    for name, outcome in outcomes.items():
        stored = await scene.stored(name)
        assert stored == [message["client_id"] for message in wanted[name]][: len(stored)]
        if isinstance(outcome, tuple):
            assert outcome == (len(stored), None)
        else:
            assert isinstance(outcome, DocumentTooLarge | PyMongoError)
    assert await scene.store.append(group("c_4", "next")) == (1, None)
