"""The log of messages when things go wrong: repeats, refusals, answers that do not come, and processes that end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import BulkWriteError, NetworkTimeout

from bench.clients import Account, CommandError, Person
from server import Server
from storage.mongo import Database
from tests.faults.test_kill import close_all
from tests.support import PATIENCE_S, SECRET, Crowd, Heard, Process, direct

Json = dict[str, Any]


class Burst:
    """Sends of one connection, all at once. `order`: (what, seq or error code) as it came in, events included."""

    def __init__(self, person: Person, conversation: Json) -> None:
        self.person, self.id = person, conversation["id"]
        self.order: list[tuple[str, Any]] = []
        self._left = 0
        self._done = asyncio.Event()
        person.on("chat:message", lambda payload: self.order.append(("event", payload["message"]["seq"])))

    async def send(self, *pairs: tuple[str, str]) -> list[Json]:
        """(client_id, text) of each; the answers in the order of the sends."""
        answers: list[Json] = [{} for _ in pairs]
        self._left = len(pairs)
        self._done.clear()
        for number, (client_id, text) in enumerate(pairs):
            payload = {"conversation_id": self.id, "client_id": client_id, "text": text}
            await self.person._socket.emit(
                "chat:send", payload, namespace="/chat",
                callback=lambda answer, number=number: self._answered(answers, number, answer),
            )  # fmt: skip
        await asyncio.wait_for(self._done.wait(), PATIENCE_S)
        return answers

    def _answered(self, answers: list[Json], number: int, answer: Json) -> None:
        assert not answers[number], "acknowledged twice"
        answers[number] = answer
        if answer["ok"]:
            what = "repeat" if answer["data"].get("duplicate") else "ack"
            self.order.append((what, answer["data"]["message"]["seq"]))
        else:
            self.order.append(("error", answer["error"]["code"]))
        self._left -= 1
        if not self._left:
            self._done.set()


async def texts(person: Person, conversation: Json) -> list[tuple[int, str]]:
    page = await person.call("chat:history", {"conversation_id": conversation["id"], "after_seq": 0, "limit": 200})
    return [(message["seq"], message["text"]) for message in page["messages"]]


async def test_a_client_id_twice_in_one_burst_makes_one_message(crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    at_ben, burst = Heard(ben, "chat:message"), Burst(ada, conversation)
    answers = await burst.send(("a", "a"), ("b", "b"), ("a", "a"), ("c", "c"), ("a", "a"), ("d", "d"))
    assert all(answer["ok"] for answer in answers)
    assert [answer["data"]["message"]["seq"] for answer in answers] == [1, 2, 1, 3, 1, 4]
    assert [answer["data"].get("duplicate", False) for answer in answers] == [False, False, True, False, True, False]
    assert answers[2]["data"]["message"] == answers[4]["data"]["message"] == answers[0]["data"]["message"]
    assert burst.order == [("ack", 1), ("ack", 2), ("repeat", 1), ("ack", 3), ("repeat", 1), ("ack", 4)]
    await at_ben.wait("chat:message", message=answers[5]["data"]["message"])
    assert [payload["message"]["text"] for _, payload in at_ben.all] == ["a", "b", "c", "d"]
    assert await texts(ben, conversation) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


async def test_refusals_in_a_burst_leave_no_gap_and_hit_nobody_else(crowd: Crowd) -> None:
    """The same client_id with other words, and one that was used in another conversation."""
    ada, ben, conversation = await crowd.pair()
    cleo = await crowd.person("Cleo")
    await ada.call("chat:send", {"conversation_id": (await direct(ada, cleo))["id"], "client_id": "x", "text": "x"})
    burst = Burst(ada, conversation)
    wanted = [("x", "x"), ("a", "a"), ("a", "other"), ("x", "x"), ("b", "b"), ("b", "other"), ("c", "c"), ("x", "z")]
    answers = await burst.send(*wanted)
    mismatch = ("error", "idempotency_mismatch")
    assert burst.order == [mismatch, ("ack", 1), mismatch, mismatch, ("ack", 2), mismatch, ("ack", 3), mismatch]
    assert [answer["ok"] for answer in answers] == [False, True, False, False, True, False, True, False]
    assert await texts(ben, conversation) == [(1, "a"), (2, "b"), (3, "c")]
    listed = (await ben.call("chat:list", {}))["items"][0]
    assert (listed["last_seq"], listed["unread"]) == (3, 3)


class Answers:
    """The collection of messages, from which the next answer to an insert does not come, stored or not yet."""

    def __init__(self, server: Server, conversation_id: str, stored: bool) -> None:
        store: Any = server.domain.chat.messages._store
        self._collection, self._stored, self._id = store._messages, stored, conversation_id
        self.late: list[list[Json]] = []
        store._messages = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    async def insert_many(self, documents: list[Json], ordered: bool) -> Any:
        if self.late or all(document["conversation_id"] != self._id for document in documents):
            return await self._collection.insert_many(documents, ordered=ordered)
        self.late.append(documents)
        if self._stored:
            await self._collection.insert_many(documents, ordered=ordered)
        raise NetworkTimeout("the answer did not come")

    async def arrive(self) -> None:
        """What was on its way all the time reaches the database."""
        (documents,) = self.late
        await self._collection.insert_many(documents, ordered=True)


@pytest.mark.parametrize("size", [1, 3])
async def test_a_repeat_after_a_lost_answer_finds_its_message_and_the_others_hear(
    server: Server, crowd: Crowd, size: int
) -> None:
    ada, ben, conversation = await crowd.pair()
    await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "0", "text": "0"})
    heard, burst = Heard(ben, "chat:message", "chat:head"), Burst(ada, conversation)
    answers = Answers(server, conversation["id"], stored=True)
    wanted = [(f"m{number}", f"m{number}") for number in range(size)]
    first = (await burst.send(wanted[0]))[0]
    assert (first["ok"], first["error"]["code"], first["error"]["retryable"]) == (False, "timeout", True)
    repeats = await burst.send(*wanted)
    assert answers.late
    assert [answer["data"]["message"]["seq"] for answer in repeats] == list(range(2, 2 + size))
    assert [answer["data"].get("duplicate", False) for answer in repeats] == [True] + [False] * (size - 1)
    assert await texts(ben, conversation) == [(1, "0"), *[(n + 2, f"m{n}") for n in range(size)]]
    await heard.wait("chat:head", conversation_id=conversation["id"], last_seq=2)
    if size > 1:
        await heard.wait("chat:message", message=repeats[-1]["data"]["message"])
    listed = (await ben.call("chat:list", {}))["items"][0]
    assert (listed["last_seq"], listed["unread"]) == (1 + size, 1 + size)
    assert (await ada.call("chat:list", {}))["items"][0]["unread"] == 0


async def test_an_insert_that_arrives_after_its_repeat_adds_nothing(server: Server, crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    heard, burst = Heard(ben, "chat:message", "chat:head"), Burst(ada, conversation)
    answers = Answers(server, conversation["id"], stored=False)
    wanted = [(f"m{number}", f"m{number}") for number in range(3)]
    assert {answer["error"]["code"] for answer in await burst.send(*wanted) if not answer["ok"]} == {"timeout"}
    repeats = await burst.send(*wanted)
    assert all(answer["ok"] for answer in repeats)
    with pytest.raises(BulkWriteError):
        await answers.arrive()
    (after,) = await burst.send(("after", "after"))
    assert after["data"]["message"]["seq"] == 4
    assert sorted(text for _, text in await texts(ben, conversation)) == ["after", "m0", "m1", "m2"]
    await heard.wait("chat:message", message=after["data"]["message"])
    listed = (await ben.call("chat:list", {}))["items"][0]
    assert (listed["last_seq"], listed["unread"]) == (4, 4)


async def test_an_insert_that_arrives_before_anyone_repeats_it_is_found_by_the_next_message(
    server: Server, crowd: Crowd
) -> None:
    ada, ben, conversation = await crowd.pair()
    at_ada, at_ben = (Heard(person, "chat:message", "chat:head") for person in (ada, ben))
    answers = Answers(server, conversation["id"], stored=False)
    burst = Burst(ada, conversation)
    assert not (await burst.send(("late", "late")))[0]["ok"]
    assert (await ben.call("chat:list", {}))["items"][0]["last_seq"] == 0  # looked, and there was nothing yet
    await answers.arrive()
    sent = (await ben.call("chat:send", {"conversation_id": conversation["id"], "client_id": "b", "text": "b"}))[
        "message"
    ]
    assert sent["seq"] == 2
    for heard in (at_ada, at_ben):
        await heard.wait("chat:head", conversation_id=conversation["id"])
    await at_ada.wait("chat:message", message=sent)
    assert await texts(ada, conversation) == [(1, "late"), (2, "b")]
    assert [(await person.call("chat:list", {}))["items"][0]["unread"] for person in (ada, ben)] == [1, 1]
    assert (await burst.send(("late", "late")))[0]["data"]["duplicate"] is True


class Alone:
    """A process on a database that outlives it."""

    def __init__(self, process: Process, database: Database) -> None:
        self.process, self.database = process, database

    async def stored(self, conversation: Json) -> Json:
        document = await self.database.collection("conversations").find_one({"_id": conversation["id"]})
        assert document is not None
        return document

    async def return_of(self, *accounts: Account) -> tuple[Crowd, list[Person], list[Heard]]:
        self.process.start()
        crowd = Crowd(self.process.url)
        people = [await crowd.connect(account, ("/chat",)) for account in accounts]
        return crowd, people, [Heard(person, "chat:head", "chat:message") for person in people]


@pytest.fixture
async def alone(tmp_path: Path, mongo_url: str) -> AsyncIterator[Alone]:
    name = f"t_{secrets.token_hex(6)}"
    database = Database(mongo_url, name, single=True)
    process = Process(tmp_path, MONGO_URL=mongo_url, MONGO_DB=name, JWT_SECRET=SECRET, RATE_LIMIT_SCALE="0")
    try:
        yield Alone(process.start(), database)
    finally:
        process.kill()
        database.close()


@pytest.mark.parametrize("end", ["SIGTERM", "kill -9"])
async def test_heads_after_the_end_of_their_process(alone: Alone, end: str) -> None:
    crowd = Crowd(alone.process.url)
    ada, ben, conversation = await crowd.pair()
    burst = Burst(ada, conversation)
    await burst.send(*[(f"a{number}", f"a{number}") for number in range(20)])
    async with asyncio.timeout(PATIENCE_S):
        while (await alone.stored(conversation))["last_seq"] < 20:  # these heads are stored; the next are not
            await asyncio.sleep(0.01)
    answers = await burst.send(*[(f"b{number}", f"b{number}") for number in range(30)])
    assert [answer["data"]["message"]["seq"] for answer in answers] == list(range(21, 51))
    await ben.call("chat:read", {"conversation_id": conversation["id"], "seq": 45})
    if end == "SIGTERM":
        assert alone.process.terminate() == 0
        document = await alone.stored(conversation)
        assert (document["last_seq"], document["members"][ada.account.id]["sent"]) == (50, 50)
    else:
        alone.process.kill()
    behind = (await alone.stored(conversation))["last_seq"] < 50  # after kill -9, unless the kill came late
    await close_all(crowd)
    crowd, (ada, ben), (at_ada, at_ben) = await alone.return_of(ada.account, ben.account)
    listed = (await ben.call("chat:list", {}))["items"][0]
    assert (listed["last_seq"], listed["last_message"], listed["unread"]) == (50, answers[-1]["data"]["message"], 5)
    assert (await ada.call("chat:list", {}))["items"][0]["unread"] == 0
    assert await texts(ben, conversation) == [(n + 1, f"a{n}") for n in range(20)] + [
        (n + 21, f"b{n}") for n in range(30)
    ]
    repeats = await Burst(ada, conversation).send(*[(f"b{number}", f"b{number}") for number in range(30)], ("c", "c"))
    assert [answer["data"]["message"]["seq"] for answer in repeats] == list(range(21, 52))
    assert [answer["data"].get("duplicate", False) for answer in repeats] == [True] * 30 + [False]
    await at_ben.wait("chat:message", message=repeats[-1]["data"]["message"])
    heads = [payload for name, payload in at_ben.all if name == "chat:head"]
    assert heads == ([{"conversation_id": conversation["id"], "last_seq": 50}] if behind else [])
    assert [payload for name, payload in at_ada.all if name == "chat:message"] == []
    assert (await ben.call("chat:list", {}))["items"][0]["unread"] == 6
    with pytest.raises(CommandError, match="idempotency_mismatch"):
        await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "b0", "text": "other"})
    await close_all(crowd)
