"""Whatever happens to Redis or to a process, connected people hear of every message without asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.clients import Person
from bench.redis_server import RedisServer
from models.context import now
from models.messages.store import MessageStore
from storage.mongo import Database
from tests.cluster.test_across import Scene, two_processes
from tests.faults.test_beyond_head import leave_behind
from tests.faults.test_kill import close_all
from tests.rest.client import http
from tests.support import PATIENCE_S, Heard, Process, direct, group, until

Json = dict[str, Any]
WITHIN_S = PATIENCE_S


@asynccontextmanager
async def talking(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> AsyncIterator[tuple[Process, Scene, Person, Person, Json]]:
    """(the first process, the scene, Ada on it, Ben on the second one, their conversation, in which is one message)."""
    with two_processes(tmp_path, mongo_url, redis_url) as (a, b):
        scene = Scene(a.url, b.url)
        ada, ben, conversation = await scene.pair()
        first = {"conversation_id": conversation["id"], "client_id": "first", "text": "hello"}
        await ada.call("chat:send", first)
        yield a, scene, ada, ben, conversation
        await close_all(scene.crowd)


async def test_a_message_whose_process_died_before_telling_is_told_of(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    async with talking(tmp_path, mongo_url, redis_url) as (a, scene, ada, ben, conversation):
        cleo = await scene.person("Cleo", scene.b)
        quiet = await direct(cleo, ben)
        heard, other = Heard(ben, "chat:head"), Heard(cleo, "chat:head")
        await leave_behind(mongo_url, a._env["MONGO_DB"], conversation["id"], ada.account.id, 2)
        a.kill()
        await heard.wait("chat:head", WITHIN_S, conversation_id=conversation["id"], last_seq=3)
        assert quiet["id"] not in [told["conversation_id"] for _, told in other.all]
        async with asyncio.timeout(PATIENCE_S):
            while ben.cursors[conversation["id"]] < 3:  # the client fetched what it lacked
                await asyncio.sleep(0.01)


async def test_whoever_is_mentioned_by_a_process_that_died_before_telling_is_notified(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    async with talking(tmp_path, mongo_url, redis_url) as (a, _, ada, ben, conversation):
        heard = Heard(ben, "system:notification")
        mentions = [ben.account.id]
        await leave_behind(mongo_url, a._env["MONGO_DB"], conversation["id"], ada.account.id, 1, mentions)
        a.kill()
        told = (await heard.wait("system:notification", 2 * WITHIN_S))["notification"]
        assert (told["title"], told["body"]) == ("Ada mentioned you", "unheard 2")


async def leave_changed(url: str, name: str, message: Json, text: str) -> None:
    """What a process leaves that dies right after it has changed a message."""
    database = Database(url, name, single=True)
    conversations, at = database.collection("conversations"), now()
    await conversations.update_one({"_id": message["conversation_id"]}, {"$max": {"touched_at": at, "edited_at": at}})
    store = MessageStore(database)
    before = await store.find(message["id"])
    assert before is not None
    assert await store.replace(before, {"text": text, "edited_at": now()}, now())
    database.close()


async def test_a_change_whose_process_died_before_telling_is_told_of(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    async with talking(tmp_path, mongo_url, redis_url) as (a, scene, ada, ben, conversation):
        cleo = await scene.person("Cleo", scene.b)
        await direct(cleo, ben)
        place = {"conversation_id": conversation["id"]}
        sent = [
            (await ada.call("chat:send", {**place, "client_id": f"s{number}", "text": "hello"}))["message"]
            for number in range(2)
        ]
        heard, other = Heard(ben, "chat:message_updated"), Heard(cleo, "chat:message_updated")
        await leave_changed(mongo_url, a._env["MONGO_DB"], sent[0], "goodbye")
        a.kill()
        told = await heard.wait("chat:message_updated", WITHIN_S)
        assert (told["message"]["text"], told["message"]["version"]) == ("goodbye", 2)
        assert [payload["message"]["id"] for name, payload in heard.all if name == "chat:message_updated"] == [
            sent[0]["id"]
        ]
        assert other.all == []


async def test_a_conversation_whose_process_died_before_telling_is_told_of(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    async with talking(tmp_path, mongo_url, redis_url) as (a, _, ada, ben, _):
        trade = await group(ada, ben)
        heard = Heard(ben, "chat:conversation")
        database = Database(mongo_url, a._env["MONGO_DB"], single=True)
        changes = {"$set": {"title": "Tea"}, "$max": {"touched_at": now(), "changed_at": now()}}
        await database.collection("conversations").update_one({"_id": trade["id"]}, changes)
        database.close()
        a.kill()
        await until(lambda: any(payload["conversation"]["title"] == "Tea" for _, payload in heard.all), WITHIN_S)


async def test_whoever_comes_while_redis_is_away_is_told_of_what_was_said_before_it_was_back(
    tmp_path: Path, mongo_url: str
) -> None:
    redis = RedisServer().start()
    try:
        with two_processes(tmp_path, mongo_url, redis.url) as (a, b):
            scene = Scene(a.url, b.url)
            ada, ben, conversation = await scene.pair()
            account = ben.account
            await ben.close()
            redis.stop()
            b.kill()
            await asyncio.to_thread(b.start)
            ben = await scene.crowd.connect(account, ("/chat",), url=b.url)
            heard = Heard(ben, "chat:head")
            place = {"conversation_id": conversation["id"]}
            await ada.call("chat:send", {**place, "client_id": "meanwhile", "text": "hello"})
            redis.start()
            await heard.wait("chat:head", WITHIN_S, **place, last_seq=1)
            await close_all(scene.crowd)
    finally:
        redis.stop()


class Talk:
    """Someone who says something all the time, and what they heard of everybody."""

    def __init__(self, person: Person, conversation_id: str) -> None:
        self.person = person
        self.id = conversation_id
        self.acked: set[str] = set()
        self.heard: set[str] = set()
        self.events: list[int] = []
        self.stopped = False
        person.on_message(self._hear)
        self.task = asyncio.create_task(self._run())

    def _hear(self, message: Json, fetched: bool) -> None:
        self.heard.add(message["client_id"])
        if not fetched:
            self.events.append(message["seq"])

    async def _run(self) -> None:
        number = 0
        while not self.stopped:
            number += 1
            client_id = f"{self.person.account.id}-{number}"
            payload = {"conversation_id": self.id, "client_id": client_id, "text": "on and on"}
            await self.person._attempt("chat:send", payload, "/chat")
            self.acked.add(client_id)
            await asyncio.sleep(0.02)


async def test_redis_may_stop_under_load(tmp_path: Path, mongo_url: str) -> None:
    redis = RedisServer().start()
    try:
        with two_processes(tmp_path, mongo_url, redis.url) as (a, b):
            scene = Scene(a.url, b.url)
            try:
                await check_outage(scene, redis)
            finally:
                await close_all(scene.crowd)
    finally:
        redis.stop()


async def check_outage(scene: Scene, redis: RedisServer) -> None:
    people = [await scene.person(f"P{number}", (scene.a, scene.b)[number % 2]) for number in range(4)]
    conversation = await group(*people)
    receipts = Heard(people[1], "chat:receipt")
    talks = [Talk(person, conversation["id"]) for person in people]
    await until(lambda: all(talk.events for talk in talks))
    redis.stop()
    async with http(scene.a) as call, asyncio.timeout(PATIENCE_S):
        while (ready := await call("GET", "/api/v1/health/ready")).body["status"] != "degraded":
            await asyncio.sleep(0.1)
        assert ready.status == 200
    before = {talk: (len(talk.acked), len(talk.events)) for talk in talks}
    await people[0].call("chat:read", {"conversation_id": conversation["id"], "seq": 1})
    for talk in talks:  # durable commands are accepted, and local delivery goes on
        acked, events = before[talk]
        await until(lambda: len(talk.acked) > acked + 5 and len(talk.events) > events + 5)  # noqa: B023
    redis.start()
    for talk in talks:
        talk.stopped = True
    await asyncio.gather(*[talk.task for talk in talks])
    said = set.union(*[talk.acked for talk in talks])
    async with asyncio.timeout(WITHIN_S):
        while not all(said <= {*talk.heard, *talk.acked} for talk in talks):
            await asyncio.sleep(0.05)
    await receipts.wait("chat:receipt", WITHIN_S, user_id=people[0].account.id, read_seq=1)
    for talk in talks:
        assert talk.events == sorted(set(talk.events)), "told twice, or out of order"
