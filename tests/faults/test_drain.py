"""SIGTERM: what is being done is finished or never happened, the process says that it is going, and ends with 0."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.clients import CommandError, ConnectionDroppedError, Person
from settings import Settings
from tests.faults.test_kill import close_all
from tests.support import PASSWORD, PATIENCE_S, Crowd, Process, group, serving

Json = dict[str, Any]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    running = Process(tmp_path, RATE_LIMIT_SCALE="0").start()
    yield running
    running.kill()


async def readiness(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v1/health/ready") as response:
        return response.status, (await response.json())["status"]


async def test_a_kept_connection_ends_with_an_answer(settings: Settings, mongo_url: str) -> None:
    async with serving(settings, mongo_url) as (server, url), aiohttp.ClientSession() as session:
        for draining, said in ((False, None), (True, "close")):
            server.health.draining = draining
            for method, path in (("GET", "/api/v1/health/live"), ("POST", "/api/v1/auth/login"), ("GET", "/nowhere")):
                async with session.request(method, f"{url}{path}") as response:
                    assert response.headers.get("Connection") == said
        # The engine ends polling sessions one after the other; until its turn each goes on where it is.
        async with session.get(f"{url}/socket.io/?EIO=4&transport=polling") as response:
            assert (response.status, response.headers.get("Connection")) == (200, None)


async def send_until_refused(person: Person, conversation_id: str, acked: dict[str, Json]) -> None:
    for number in range(100_000):
        client_id = f"{person.account.id}-{number}"
        payload = {"conversation_id": conversation_id, "client_id": client_id, "text": f"this is {client_id}"}
        try:
            reply = await person._attempt("chat:send", payload, "/chat")
        except ConnectionDroppedError:  # nothing is refused on the way out
            return
        acked[client_id] = reply.data["message"]


async def test_sigterm_under_load_loses_nothing_and_a_restart_finds_everything(tmp_path: Path) -> None:
    process = Process(tmp_path, RATE_LIMIT_SCALE="0", DRAIN_TIMEOUT_S="2").start()
    try:
        await check_sigterm_under_load(process)
    finally:
        process.kill()


async def check_sigterm_under_load(process: Process) -> None:
    crowd = Crowd(process.url)
    people = [await crowd.person(name, ("/chat",)) for name in ("Ada", "Ben", "Cleo")]
    conversation = await group(*people, title="Before the restart")
    acked: dict[str, Json] = {}
    sending = [asyncio.create_task(send_until_refused(person, conversation["id"], acked)) for person in people]
    while len(acked) < 60:
        await asyncio.sleep(0.01)
    assert await asyncio.to_thread(process.terminate) == 0
    await asyncio.gather(*sending)
    email = people[0].account.user["email"]
    await close_all(crowd)
    process.start()
    crowd = Crowd(process.url)
    again = await crowd.connect(await crowd.rest.login(email, PASSWORD), ("/chat",))
    (listed,) = (await again.call("chat:list", {}))["items"]
    assert (listed["id"], listed["title"]) == (conversation["id"], "Before the restart")
    history: list[Json] = []
    while len(history) < listed["last_seq"]:
        place = {"conversation_id": conversation["id"], "after_seq": len(history), "limit": 200}
        history += (await again.call("chat:history", place))["messages"]
    assert [message["seq"] for message in history] == list(range(1, listed["last_seq"] + 1))
    stored = {message["client_id"]: message for message in history}
    assert {client_id: stored.get(client_id) for client_id in acked} == acked
    assert len(stored) - len(acked) <= len(people)  # those in flight, whose answer did not get out any more
    await close_all(crowd)


async def test_a_command_that_is_running_is_answered_before_the_end(process: Process) -> None:
    """The database is held, so that the command certainly is running when the signal comes."""
    crowd = Crowd(process.url)
    ada, _, conversation = await crowd.pair()
    waiting = await crowd.account("Cleo")
    database = int(json.loads((process.data_dir / "db.json").read_text())["pid"])
    assert await readiness(process.url) == (200, "ready")
    os.kill(database, signal.SIGSTOP)
    try:
        payload = {"conversation_id": conversation["id"], "client_id": "last words", "text": "one more thing"}
        sending = asyncio.create_task(ada._attempt("chat:send", payload, "/chat"))
        await asyncio.sleep(0.3)  # nothing tells that a command waits for a database that does not answer
        ending = asyncio.create_task(asyncio.to_thread(process.terminate))
        async with asyncio.timeout(7):
            while (state := await readiness(process.url)) != (503, "draining"):
                assert state[1] != "ready" or not sending.done()
        with pytest.raises(CommandError, match="Connection error"):  # HTTP 503: clients try again by themselves
            await crowd.connect(waiting, ("/chat",))
        assert not sending.done()
    finally:
        os.kill(database, signal.SIGCONT)
    reply = await sending
    assert reply.data["message"]["text"] == "one more thing"
    assert await ending == 0
    await close_all(crowd)


async def test_clients_are_closed_and_told_nothing_wrong(process: Process) -> None:
    crowd = Crowd(process.url)
    ada, _, conversation = await crowd.pair()
    gone = asyncio.Event()
    ada._socket.on("disconnect", lambda reason: gone.set(), namespace="/chat")
    assert await asyncio.to_thread(process.terminate, 12) == 0
    await asyncio.wait_for(gone.wait(), PATIENCE_S)
    await close_all(crowd)
    process.start()
    crowd = Crowd(process.url)
    again = await crowd.connect(ada.account)
    opened = await again.call("chat:join", {"conversation_id": conversation["id"]})
    assert opened["conversation"]["id"] == conversation["id"]
    await close_all(crowd)
