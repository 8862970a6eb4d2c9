"""Where a conversation ends: whatever has been stored of it so far, a reader gets it as its messages have it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.conversations import heads as heads_module
from models.conversations.document import new_member, unread
from models.conversations.heads import Heads, advance, apply, contiguous
from storage.mongo import Document

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
PEOPLE = ("ada", "ben", "cleo")
IDS = ("c_1", "c_2")
Found = TypeVar("Found")
Operation = tuple[str, int, int, int]  # what, which conversation, which process, who


class World:
    """Two conversations, and all that is durable of them. The messages are a plain list: our `Tail`."""

    def __init__(self) -> None:
        self.messages: dict[str, list[Document]] = {conversation_id: [] for conversation_id in IDS}
        self.stored: dict[str, Document] = {
            conversation_id: {
                "_id": conversation_id, "last_seq": 0, "last_message": None, "updated_at": BEGIN, "touched_at": BEGIN,
                "members": {name: new_member(name, "member", 0) for name in PEOPLE},
            }
            for conversation_id in IDS
        }  # fmt: skip
        self.meanwhile: list[Callable[[], None]] = []  # happens while somebody waits for an answer of ours
        self.looks = 0

    async def range(self, conversation_id: str, after_seq: int, up_to_seq: int) -> list[Document]:
        found = [copy.copy(each) for each in self.messages[conversation_id] if after_seq < each["seq"] <= up_to_seq]
        return self._answer(found)

    async def exist_at(self, places: dict[str, int]) -> set[str]:
        return self._answer({key for key, seq in places.items() if len(self.messages[key]) >= seq > 0})

    def _answer(self, found: Found) -> Found:
        self.looks += 1
        happening, self.meanwhile = self.meanwhile, []
        for happen in happening:
            happen()
        return found

    def append(self, conversation_id: str, sender: str) -> Document:
        seq = len(self.messages[conversation_id]) + 1
        at = BEGIN + timedelta(seconds=seq * (1 if seq % 5 else -1))  # clocks of processes differ
        message = {"_id": f"{conversation_id}.{seq}", "conversation_id": conversation_id, "seq": seq,
                   "sender_id": sender, "created_at": at}  # fmt: skip
        self.messages[conversation_id].append(message)
        return message

    def move(self, conversation_id: str, messages: list[Document]) -> None:
        """Applies the update of `advance` as a database does."""
        assert messages[0]["seq"] == self.stored[conversation_id]["last_seq"] + 1
        update, document = advance(messages), self.stored[conversation_id]
        assert update.keys() == {"$set", "$max", "$inc"}
        document.update(update["$set"])
        for name, value in update["$max"].items():
            document[name] = max(document[name], value)
        for path, count in update["$inc"].items():
            _, user_id, name = path.split(".")
            document["members"][user_id][name] += count

    def read(self) -> list[Document]:
        return [copy.deepcopy(self.stored[conversation_id]) for conversation_id in IDS]

    def check(self, document: Document, at_least: int) -> None:
        """It is as it was at one moment since it was read: `at_least` is what was durable then."""
        messages = self.messages[document["_id"]]
        assert at_least <= document["last_seq"] <= len(messages)
        seen = messages[: document["last_seq"]]
        if seen:
            assert document["last_message"]["_id"] == seen[-1]["_id"]
        latest = max([BEGIN, *[each["created_at"] for each in seen]])
        assert (document["updated_at"], document["touched_at"]) == (latest, latest)
        for name in PEOPLE:
            member = document["members"][name]
            assert member["sent"] == sum(each["sender_id"] == name for each in seen)
            after = seen[member["read_seq"] :]
            assert unread(document, name) == sum(each["sender_id"] != name for each in after)


class Play:
    """Operations of one process that is alone, or of two, on one world."""

    def __init__(self, processes: int) -> None:
        self.world = World()
        self.heads = [Heads(self.world, alone=processes == 1) for _ in range(processes)]

    async def do(self, operation: Operation) -> None:
        what, which, process, who = operation
        heads, conversation_id = self.heads[process % len(self.heads)], IDS[which]
        if what in ("read", "read all"):
            await self._read(heads, [conversation_id] if what == "read" else list(IDS), None)
        elif what == "mark":
            (document,) = await self._read(heads, [conversation_id], None)
            self._mark(conversation_id, PEOPLE[who], document)
        elif what == "read while they write":
            await self._read(heads, [conversation_id], lambda: self._step("write", conversation_id, process + 1, who))
        elif what == "read while it is flushed":
            await self._read(heads, list(IDS), lambda: self._step("flush", conversation_id, process, who))
        else:
            self._step(what, conversation_id, process, who)

    async def _read(self, heads: Heads, ids: list[str], meanwhile: Callable[[], None] | None) -> list[Document]:
        """What happens meanwhile does so while the look into the messages is under way, or, without one, before it."""
        documents = [document for document in self.world.read() if document["_id"] in ids]
        durable = {key: len(messages) for key, messages in self.world.messages.items()}
        if meanwhile is not None:
            self.world.meanwhile = [meanwhile]
        await heads.bring_up(documents)
        for document in documents:
            self.world.check(document, durable[document["_id"]])
        for happen in self.world.meanwhile:
            happen()
        self.world.meanwhile = []
        return documents

    def _step(self, what: str, conversation_id: str, process: int, who: int) -> None:
        heads = self.heads[process % len(self.heads)]
        if what == "write":
            heads.note(self.world.append(conversation_id, PEOPLE[who]))
        elif what == "lose":  # durable, but the answer of the database did not come
            self.world.append(conversation_id, PEOPLE[who])
            heads.forget(conversation_id)
        elif what == "forget":
            heads.forget(conversation_id)
        elif what == "flush":
            self._flush(heads, conversation_id)
        else:
            assert what == "adopt"
            self._move(heads, conversation_id)

    def _flush(self, heads: Heads, conversation_id: str) -> None:
        pending = heads.pending.get(conversation_id)
        if not pending:
            return
        stored = self.world.stored[conversation_id]["last_seq"]
        if pending[0]["seq"] == stored + 1:
            messages = contiguous(stored, pending)
            self.world.move(conversation_id, messages)
            heads.settle(conversation_id, messages[-1]["seq"])
        else:
            self._move(heads, conversation_id)

    async def flush_all(self) -> None:
        """In turns: one may have to wait for what the other has in between."""
        for _ in range(100):
            for process, heads in enumerate(self.heads):
                await self.do(("read all", 0, process, 0))
                for conversation_id in IDS:
                    self._flush(heads, conversation_id)
            if not any(heads.pending for heads in self.heads):
                return
        raise AssertionError("heads that never come to the end")

    def _move(self, heads: Heads, conversation_id: str) -> None:
        messages = self.world.messages[conversation_id]
        stored = self.world.stored[conversation_id]["last_seq"]
        if stored < len(messages):
            self.world.move(conversation_id, messages[stored:])
        heads.settle(conversation_id, len(messages))

    def _mark(self, conversation_id: str, name: str, document: Document) -> None:
        member = self.world.stored[conversation_id]["members"][name]
        member["read_seq"] = max(member["read_seq"], document["last_seq"])
        member["sent_at_read"] = max(member["sent_at_read"], document["members"][name]["sent"])


WHAT = [
    "write", "write", "lose", "forget", "flush", "adopt", "read", "read all", "mark", "read while they write",
    "read while it is flushed",
]  # fmt: skip
operations = st.lists(
    st.tuples(st.sampled_from(WHAT), st.integers(0, 1), st.integers(0, 1), st.integers(0, 2)), max_size=40
)


@pytest.mark.parametrize("processes", [1, 2], ids=["alone", "two"])
@hypothesis_settings(max_examples=250, deadline=None, print_blob=True)
@given(steps=operations)
def test_a_reader_gets_what_is_durable_whatever_was_stored_of_it(processes: int, steps: list[Operation]) -> None:
    async def check() -> None:
        play = Play(processes)
        for step in steps:
            note(str(step))
            await play.do(step)
        await play.flush_all()
        for process in range(processes):
            await play.do(("read all", 0, process, 0))

    asyncio.run(check())


async def test_alone_what_one_wrote_oneself_needs_no_look() -> None:
    world = World()
    heads = Heads(world, alone=True)
    assert await heads.bring_up(world.read()) == {}
    assert world.looks == 1  # for both: nothing is known yet
    for name in ("ada", "ben", "ada"):
        heads.note(world.append("c_1", name))
    documents = world.read()
    assert await heads.bring_up(documents) == {}
    assert world.looks == 1
    assert [document["last_seq"] for document in documents] == [3, 0]


async def test_alone_what_may_have_been_stored_is_found_and_is_strange() -> None:
    world = World()
    heads = Heads(world, alone=True)
    await heads.bring_up(world.read())
    heads.note(world.append("c_1", "ada"))
    lost = [world.append("c_1", "ben"), world.append("c_1", "ada")]
    heads.forget("c_1")
    document = world.read()[0]
    strange = await heads.bring_up([document])
    assert [message["_id"] for message in strange["c_1"]] == [message["_id"] for message in lost]
    world.check(document, 3)


async def test_with_others_everything_of_theirs_is_found_at_once_and_ones_own_is_not_strange() -> None:
    world = World()
    mine, theirs = Heads(world, alone=False), Heads(world, alone=False)
    for number in range(6):
        (mine if number % 2 else theirs).note(world.append("c_1", "ada"))
        for heads, first in ((mine, 1), (theirs, 2)):
            document = world.read()[0]
            strange = (await heads.bring_up([document])).get("c_1", [])
            world.check(document, number + 1)
            assert [message["seq"] for message in strange] == list(range(first, number + 2, 2))


async def test_of_many_conversations_only_those_with_news_are_looked_into() -> None:
    world = World()
    heads = Heads(world, alone=False)
    world.append("c_2", "ada")
    documents = world.read()
    assert list(await heads.bring_up(documents)) == ["c_2"]
    assert world.looks == 2  # one for all of them, and one into c_2
    assert [document["last_seq"] for document in documents] == [0, 1]


async def test_what_is_known_is_bounded_and_what_was_forgotten_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads_module, "KNOWN_MAX", 1)
    world = World()
    heads = Heads(world, alone=True)
    for _ in range(3):
        for conversation_id in IDS:
            heads.note(world.append(conversation_id, "ada"))
    assert len(heads._known) == 1
    documents = world.read()
    assert await heads.bring_up(documents) == {}
    assert [document["last_seq"] for document in documents] == [3, 3]


def test_in_memory_and_in_the_database_a_head_moves_the_same_way() -> None:
    world = World()
    for name in ("ada", "ben", "ada", "cleo", "ada", "ben"):
        world.append("c_1", name)
    document = world.read()[0]
    apply(document, world.messages["c_1"])
    world.move("c_1", world.messages["c_1"])
    stored = world.stored["c_1"]
    document.pop("stored_seq", None)  # in memory alone
    assert document == stored
    # Someone who has left meanwhile is counted nowhere in memory, and breaks nothing.
    document["last_seq"], stray = 6, world.append("c_1", "a stranger")
    apply(document, [stray])
    assert document["last_seq"] == 7
    assert "a stranger" not in document["members"]


def test_only_what_follows_without_a_gap_counts() -> None:
    messages = [{"seq": seq} for seq in (4, 5, 7, 8)]
    assert [message["seq"] for message in contiguous(3, messages)] == [4, 5]
    assert contiguous(2, messages) == []
    assert contiguous(3, []) == []
