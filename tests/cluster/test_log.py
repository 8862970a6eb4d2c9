"""One log, written by one process or by two: bursts, and what is read while the stored heads are behind.

The two are two servers in this process, with a database and a Redis between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from bench.clients import Person
from models.context import now
from models.conversations import moving
from models.messages.document import draft, placed
from models.messages.store import MessageStore
from server import Server
from settings import Settings
from tests.support import PATIENCE_S, Crowd, Heard, direct, group, serving

CONNECTIONS = 8
EACH = 30
TOTAL = CONNECTIONS * EACH
Json = dict[str, Any]


class Scene:
    """People registered at A, who connect to A or to B; of one process A and B are the same."""

    def __init__(self, *running: tuple[Server, str]) -> None:
        (self.a, url), (self.b, self.b_url) = running[0], running[-1]
        self.crowd = Crowd(url)

    async def person(self, name: str, at_b: bool) -> Person:
        return await self.device(await self.crowd.account(name), at_b)

    async def device(self, person: Any, at_b: bool) -> Person:
        account = getattr(person, "account", person)
        return await self.crowd.connect(account, ("/chat",), url=self.b_url if at_b else "")

    async def pair(self) -> tuple[Person, Person, Json]:
        """Ada on A, Ben on B."""
        ada, ben = await self.person("Ada", False), await self.person("Ben", True)
        return ada, ben, await direct(ada, ben)

    async def stored(self, conversation: Json) -> Json:
        document = await self.a.database.collection("conversations").find_one({"_id": conversation["id"]})
        assert document is not None
        return document

    async def flush(self) -> None:
        for server in (self.a, self.b):
            await server.domain.conversations._store.mover.flush()


@contextlib.asynccontextmanager
async def scene_of(count: int, settings: Settings, mongo_url: str, redis_url: str) -> AsyncIterator[Scene]:
    if count == 2:
        settings = dataclasses.replace(settings, redis_url=redis_url)
    async with contextlib.AsyncExitStack() as stack:
        scene = Scene(*[await stack.enter_async_context(serving(settings, mongo_url)) for _ in range(count)])
        yield scene
        await scene.crowd.close()


@pytest.fixture(params=[1, 2], ids=["one process", "two processes"])
async def scene(
    request: pytest.FixtureRequest, settings: Settings, mongo_url: str, redis_url: str
) -> AsyncIterator[Scene]:
    async with scene_of(request.param, settings, mongo_url, redis_url) as made:
        yield made


@pytest.fixture
async def two(settings: Settings, mongo_url: str, redis_url: str) -> AsyncIterator[Scene]:
    async with scene_of(2, settings, mongo_url, redis_url) as made:
        yield made


@pytest.fixture
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads move when they are told to, or when a server stops."""
    monkeypatch.setattr(moving, "FLUSH_S", 3_600.0)


class Witness:
    """One connection: (seq, how) of every message as it came in, and its acknowledgements by number of the send."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.order: list[tuple[int, str]] = []
        self.acked: list[tuple[int, Json]] = []
        self.full = asyncio.Event()
        person.on("chat:message", lambda payload: self._note(payload["message"]["seq"], "event"))

    def _note(self, seq: int, how: str) -> None:
        self.order.append((seq, how))
        if len(self.order) >= TOTAL:
            self.full.set()

    def _acknowledged(self, number: int, answer: Json) -> None:
        assert answer["ok"], answer
        self.acked.append((number, answer["data"]["message"]))
        self._note(answer["data"]["message"]["seq"], "ack")

    async def burst(self, conversation: Json) -> None:
        for number in range(EACH):
            payload = {"conversation_id": conversation["id"], "client_id": f"m{number}", "text": f"number {number}"}
            await self.person._socket.emit(
                "chat:send", payload, namespace="/chat",
                callback=lambda answer, number=number: self._acknowledged(number, answer),
            )  # fmt: skip


async def history(person: Person, conversation: Json) -> list[Json]:
    found: list[Json] = []
    while len(found) % 200 == 0 and (not found or len(found) < TOTAL):
        place = {"conversation_id": conversation["id"], "after_seq": len(found), "limit": 200}
        found += (await person.call("chat:history", place))["messages"]
    return found


async def test_bursts_of_many_connections_make_one_sequence_that_everyone_sees_rise(scene: Scene) -> None:
    people = [await scene.person(f"P{number}", bool(number % 2)) for number in range(CONNECTIONS)]
    silent = [await scene.device(people[number], bool((number + 1) % 2)) for number in range(2)]
    conversation = await group(*people)
    witnesses = [Witness(person) for person in people + silent]
    heads = [Heard(person, "chat:head") for person in people]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*[witness.burst(conversation) for witness in witnesses[:CONNECTIONS]])
        await asyncio.gather(*[witness.full.wait() for witness in witnesses])
    stored = await history(people[0], conversation)
    assert [message["seq"] for message in stored] == list(range(1, TOTAL + 1))
    for witness in witnesses:
        assert sorted(seq for seq, _ in witness.order) == list(range(1, TOTAL + 1))
        assert [(one, other) for one, other in pairwise(witness.order) if other[0] < one[0]] == []
    for witness in witnesses[:CONNECTIONS]:
        assert [number for number, _ in witness.acked] == list(range(EACH))  # answered as they were sent
        assert all(stored[message["seq"] - 1] == message for _, message in witness.acked)
    assert [told for heard in heads for told in heard.all] == []  # nobody died
    listed = (await silent[0].call("chat:list", {}))["items"][0]
    assert (listed["last_seq"], listed["last_message"]) == (TOTAL, stored[-1])


@pytest.mark.usefixtures("no_flush")
async def test_a_lone_message_is_in_every_answer_from_its_acknowledgement_or_event_on(scene: Scene) -> None:
    ada, ben, conversation = await scene.pair()
    place = {"conversation_id": conversation["id"]}
    tablet = await scene.device(ben, False)
    at_tablet, at_ben = Heard(tablet, "chat:message"), Heard(ben, "chat:message")
    for number in range(1, 5):
        sent = (await ada.call("chat:send", {**place, "client_id": f"a{number}", "text": "hello"}))["message"]
        own = (await ada.call("chat:get", place))["conversation"]
        assert (own["last_seq"], own["last_message"], own["unread"]) == (number, sent, 0)
        for person, heard in ((tablet, at_tablet), (ben, at_ben)):
            await heard.wait("chat:message", message=sent)
            (listed,) = (await person.call("chat:list", {}))["items"]
            assert (listed["last_seq"], listed["last_message"], listed["unread"]) == (number, sent, number)
            missed = (await person.call("chat:sync", {"cursors": {conversation["id"]: number - 1}}))["conversations"]
            assert [entry["messages"] for entry in missed] == [[sent]]
    assert (await scene.stored(conversation))["last_seq"] == 0  # or nothing of this was put to the test


@pytest.mark.usefixtures("no_flush")
async def test_marks_on_one_process_cover_what_only_the_other_has_written(two: Scene) -> None:
    ada, ben, conversation = await two.pair()
    place = {"conversation_id": conversation["id"]}
    at_ada, at_ben = Heard(ada, "chat:receipt"), Heard(ben, "chat:message")
    for number in range(5):
        await ada.call("chat:send", {**place, "client_id": f"a{number}", "text": "hello"})
    await at_ben.wait("chat:message")
    receipt = (await ben.call("chat:read", {**place, "seq": 3}))["receipt"]
    assert (receipt["read_seq"], receipt["unread"], receipt["last_seq"]) == (3, 2, 5)
    await at_ada.wait("chat:receipt", user_id=ben.account.id, read_seq=3)
    await ben.call("chat:send", {**place, "client_id": "b", "text": "b"})
    assert (await ben.call("chat:read", {**place, "seq": 100}))["receipt"]["read_seq"] == 6
    for _ in range(2):
        for person, unread in ((ada, 1), (ben, 0)):
            got = (await person.call("chat:get", place))["conversation"]
            assert (got["last_seq"], got["unread"]) == (6, unread)
        await two.flush()
    document = await two.stored(conversation)
    assert document["last_seq"] == 6
    assert [document["members"][person.account.id]["sent"] for person in (ada, ben)] == [5, 1]


@pytest.mark.usefixtures("no_flush")
@pytest.mark.parametrize("writer_at_b", [False, True], ids=["flushed by the writer first", "by the other first"])
async def test_an_edit_at_one_process_of_what_the_other_has_not_stored_the_head_of(
    two: Scene, writer_at_b: bool
) -> None:
    """The writer still has the message as it was, and would store that with the head."""
    ada, ben, conversation = await two.pair()
    elsewhere = await two.device(ada, True)
    writer, editor = (elsewhere, ada) if writer_at_b else (ada, elsewhere)
    place = {"conversation_id": conversation["id"]}
    for number in range(3):
        last = (await writer.call("chat:send", {**place, "client_id": f"m{number}", "text": "hello"}))["message"]
    assert (await two.stored(conversation))["last_seq"] == 0
    edited = (await editor.call("chat:edit", {"message_id": last["id"], "text": "edited"}))["message"]
    for _ in range(2):
        for person in (ada, elsewhere, ben):
            assert (await person.call("chat:get", place))["conversation"]["last_message"] == edited
        await two.flush()
    document = await two.stored(conversation)
    assert (document["last_seq"], document["last_message"]["version"]) == (3, 2)
    assert document["members"][ada.account.id]["sent"] == 3


@pytest.mark.usefixtures("no_flush")
async def test_who_is_added_at_one_process_starts_after_what_the_other_has_written(two: Scene) -> None:
    ada, ben, cleo = await two.person("Ada", False), await two.person("Ben", True), await two.person("Cleo", True)
    conversation = await group(ben, ada)
    place = {"conversation_id": conversation["id"]}
    for number in range(3):
        await ada.call("chat:send", {**place, "client_id": f"a{number}", "text": "not for Cleo"})
    at_cleo = Heard(cleo, "chat:message")
    added = (await ben.call("chat:members", {**place, "add": [cleo.account.id]}))["conversation"]
    assert [one["joined_seq"] for one in added["participants"] if one["user_id"] == cleo.account.id] == [3]
    sent = (await ben.call("chat:send", {**place, "client_id": "b", "text": "welcome"}))["message"]
    await at_cleo.wait("chat:message", message=sent)
    assert [payload["message"]["seq"] for _, payload in at_cleo.all] == [4, 5]
    got = (await cleo.call("chat:get", place))["conversation"]
    assert (got["last_seq"], got["unread"]) == (5, 2)


async def test_what_a_dead_process_left_is_told_once_by_whoever_looks(
    two: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once: whoever wrote it may be alive and about to tell. Then once, though both look again."""
    monkeypatch.setattr(moving, "ORPHANED_AFTER", timedelta(seconds=1))
    ada, ben, conversation = await two.pair()
    place = {"conversation_id": conversation["id"]}
    heard = [Heard(person, "chat:message", "chat:head") for person in (ada, ben)]
    left = [draft(ada.account.id, f"lost-{number}", "text", "unheard", now()) for number in range(3)]
    documents = [placed(conversation["id"], number + 1, made) for number, made in enumerate(left)]
    assert await MessageStore(two.a.database).append(documents) == (3, None)
    for person in (ada, ben):
        got = (await person.call("chat:get", place))["conversation"]
        assert (got["last_seq"], got["unread"]) == (3, 0 if person is ada else 3)
    assert [told.all for told in heard] == [[], []]
    for told in heard:
        await told.wait("chat:head", 5, conversation_id=conversation["id"], last_seq=3)
    sent = (await ben.call("chat:send", {**place, "client_id": "b", "text": "b"}))["message"]
    assert sent["seq"] == 4
    await asyncio.sleep(1.2)  # the time in which the other would tell it too
    for told in heard:
        heads = [payload["last_seq"] for name, payload in told.all if name == "chat:head"]
        assert heads.count(3) == 1
    assert [payload["message"] for name, payload in heard[0].all if name == "chat:message"] == [sent]
