"""The database freezes or dies under a running server: nobody waits for ever, and what can be repeated is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pymongo.errors import CursorNotFound

from bench.clients import CommandError, Person
from storage.mongo import Database, as_parley_error
from tests.faults.test_kill import close_all
from tests.support import PATIENCE_S, Crowd, Process

ANSWER_S = PATIENCE_S
Json = dict[str, Any]


class Scene:
    """A server of its own with two people in conversation, and the process id of its database."""

    def __init__(self, process: Process, crowd: Crowd, ada: Person, ben: Person, conversation: Json) -> None:
        self.process, self.crowd, self.ada, self.ben, self.id = process, crowd, ada, ben, conversation["id"]
        self.database = int(json.loads((process.data_dir / "db.json").read_text())["pid"])

    def send(self, client_id: str) -> Json:
        return {"conversation_id": self.id, "client_id": client_id, "text": f"this is {client_id}"}

    async def refusal(self, person: Person, command: str, payload: Json, namespace: str = "/chat") -> Json:
        """The error object of a command that must fail in time. One at a time for a person: they are done in order."""
        started = time.monotonic()
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        await person._socket.emit(command, payload, namespace=namespace, callback=answer.set_result)
        given = await asyncio.wait_for(answer, ANSWER_S)
        assert given["ok"] is False, given
        return {**given["error"], "after_s": time.monotonic() - started}

    async def refusal_by_rest(self, path: str) -> CommandError:
        with pytest.raises(CommandError) as caught:
            async with asyncio.timeout(ANSWER_S):
                await self.crowd.rest.request("GET", path, token=self.ada.account.access_token)
        return caught.value


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    process = Process(tmp_path, RATE_LIMIT_SCALE="0").start()
    crowd = Crowd(process.url)
    try:
        ada, ben, conversation = await crowd.pair()
        made = Scene(process, crowd, ada, ben, conversation)
        await ada.call("chat:send", made.send("before"))
        yield made
    finally:
        await close_all(crowd)
        process.kill()


async def ready(url: str) -> tuple[int, Json]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v1/health/ready") as response:
        return response.status, await response.json()


async def until_ready(url: str, status: int) -> Json:
    async with asyncio.timeout(ANSWER_S):
        while True:
            given, body = await ready(url)
            if given == status:
                return body
            await asyncio.sleep(0.1)


async def test_a_frozen_database_gives_timeouts_and_then_all_works_again(scene: Scene) -> None:
    os.kill(scene.database, signal.SIGSTOP)
    while "State:\tT" not in Path(f"/proc/{scene.database}/status").read_text():
        await asyncio.sleep(0.01)
    try:
        by_command, by_presence, unready, by_rest = await asyncio.gather(
            scene.refusal(scene.ada, "chat:send", scene.send("frozen")),
            scene.refusal(scene.ben, "presence:set", {"status": "away"}, "/presence"),
            until_ready(scene.process.url, 503),
            scene.refusal_by_rest("/api/v1/chat/conversations"),
        )
    finally:
        os.kill(scene.database, signal.SIGCONT)
    for refusal in (by_command, by_presence):
        assert refusal["code"] in ("timeout", "unavailable")
        assert refusal["retryable"] is True
        assert refusal["retry_after_ms"] > 0
    assert unready["components"]["database"]["status"] == "down"
    assert by_rest.code in ("timeout", "unavailable")
    await until_ready(scene.process.url, 200)
    sent = await scene.ada.call("chat:send", scene.send("frozen"))  # it may have been written after all
    history = (await scene.ben.call("chat:history", {"conversation_id": scene.id}))["messages"]
    assert [message["client_id"] for message in history] == ["before", "frozen"]
    assert sent["message"] == history[-1]
    assert (await scene.ben.call("chat:send", scene.send("after")))["message"]["seq"] == 3


async def test_a_dead_database_is_said_at_once_and_the_process_lives_on(scene: Scene) -> None:
    os.kill(scene.database, signal.SIGKILL)
    for client_id in ("dead", "still dead"):
        refusal = await scene.refusal(scene.ada, "chat:send", scene.send(client_id))
        assert refusal["code"] == "unavailable"
        assert refusal["retryable"] is True
        assert refusal["after_s"] < 5
    body = await until_ready(scene.process.url, 503)
    assert body["status"] == "not_ready"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{scene.process.url}/api/v1/health/live") as response:
            assert response.status == 200
    unknown = await scene.refusal(scene.ben, "chat:nonsense", {})
    assert unknown["code"] == "unknown_command"


async def test_a_database_that_restarts_between_two_pages_of_a_result_is_unavailable(mongo_url: str) -> None:
    """Killing the cursor is what a restart does to it."""
    database = Database(mongo_url, "t_pages", single=True)
    things = database.collection("things")
    await things.insert_many([{"n": n} for n in range(10)])
    cursor = things.find({}, batch_size=2)
    assert await cursor.next()
    await things.database.command({"killCursors": "things", "cursors": [cursor.delegate.cursor_id]})
    with pytest.raises(CursorNotFound) as caught:
        await cursor.to_list(None)
    known = as_parley_error(caught.value)
    assert known is not None
    assert (known.code, known.retry_after_ms) == ("unavailable", 1000)
    database.close()
