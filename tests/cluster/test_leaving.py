"""A process that goes closes its connections a few at a time, and each client comes back at another by itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from contract.closing import RESTARTING
from realtime.drain import BATCH_MIN, RETRY_MS
from storage.embedded import free_port
from tests.cluster.proxies import route_of
from tests.cluster.witness import Witness, slots_of
from tests.faults.test_kill import close_all
from tests.socket.protocol import Polling
from tests.support import PATIENCE_S, SECRET, Crowd, Heard, Process, Raw, group

CLIENTS = 8 * BATCH_MIN
DRAIN_S = 4.0


@asynccontextmanager
async def leaving_and_staying(
    root: Path, mongo_url: str, redis_url: str, people: int
) -> AsyncIterator[tuple[Process, list[Witness]]]:
    """People on a process that has a port alone; then another process shares it."""
    env = {
        "MONGO_URL": mongo_url, "MONGO_DB": f"t_{secrets.token_hex(6)}", "REDIS_URL": redis_url, "JWT_SECRET": SECRET,
        "RATE_LIMIT_SCALE": "0", "DRAIN_TIMEOUT_S": str(DRAIN_S), "PORT": str(free_port()),
    }  # fmt: skip
    leaving, staying = Process(root, ROUTE="leaving", **env), Process(root, ROUTE="staying", **env)
    leaving.start()
    crowd = Crowd(leaving.url)
    try:
        accounts = await asyncio.gather(*[crowd.account(f"P{number}") for number in range(people)])
        made = [Witness(crowd.rest, account, ("/chat", "/system")) for account in accounts]
        crowd._people += made
        await asyncio.gather(*[person.connect() for person in made])
        staying.start()
        yield leaving, made
    finally:
        leaving.kill()
        await close_all(crowd)
        assert staying.terminate() == 0


async def test_closes_are_spread_and_everybody_comes_back(tmp_path: Path, mongo_url: str, redis_url: str) -> None:
    async with leaving_and_staying(tmp_path, mongo_url, redis_url, CLIENTS) as (leaving, people):
        assert {route_of(person) for person in people} == {"leaving"}
        assert await asyncio.to_thread(leaving.terminate) == 0
        await asyncio.gather(*[person.returns(1) for person in people])
        assert {route_of(person) for person in people} == {"staying"}
        assert [len(person.cut) for person in people] == [1] * CLIENTS
        cut = [person.cut[0] for person in people]
        # Eight batches, never early: in no shorter time, whatever this machine does meanwhile.
        assert len(slots_of(cut)) >= 4
        assert len(slots_of([person.back[1] for person in people])) >= 4
        told = [hint for person in people for hint in person.told]
        assert len(told) == CLIENTS
        assert all(RETRY_MS[0] <= hint <= RETRY_MS[1] for hint in told)
        assert len(set(told)) > CLIENTS / 2
        for person in people:
            assert (await person.call("chat:list", {}))["items"] == []


async def test_presence_does_not_flicker(tmp_path: Path, mongo_url: str, redis_url: str) -> None:
    """Whoever comes back in time was never away to others; whoever does not is told of."""
    async with leaving_and_staying(tmp_path, mongo_url, redis_url, 6) as (leaving, people):
        await group(*people)
        watcher = people[0]
        while route_of(watcher) != "staying":  # the port gives a connection to either
            await watcher.close()
            watcher = Witness(watcher._rest, watcher.account, ("/chat", "/presence"))
            await watcher.connect()
        try:
            heard = Heard(watcher, "user:status_change")
            others = [person.account.id for person in people[1:]]
            await watcher.call("presence:subscribe", {"user_ids": others})
            people[1]._socket.reconnection = False
            assert await asyncio.to_thread(leaving.terminate) == 0
            await asyncio.gather(*[person.returns(1) for person in people[2:]])
            await heard.wait("user:status_change", 45, user_id=others[0], status="offline")
            assert [payload["user_id"] for _, payload in heard.all] == [others[0]]
            seen = (await watcher.call("presence:subscribe", {"user_ids": others}))["presences"]
            assert [one["status"] for one in seen] == ["offline", *["online"] * 4]
        finally:
            await watcher.close()


@pytest.fixture
def alone(tmp_path: Path) -> Process:
    return Process(tmp_path, RATE_LIMIT_SCALE="0", ROUTE="w1")


async def test_a_websocket_is_told_and_closed_with_a_code_of_its_own(alone: Process) -> None:
    crowd = Crowd(alone.start().url)
    account = await crowd.account()
    async with Raw(alone.url) as raw:
        assert raw.handshake["sid"].endswith(".w1")
        for namespace in ("/chat", "/system"):
            await raw.connect(namespace, account.access_token)
        ending = asyncio.create_task(asyncio.to_thread(alone.terminate))
        assert raw._socket is not None
        told = await raw._socket.receive(PATIENCE_S)
        assert told.data.startswith('42/system,["system:draining",{"retry_after_ms":')
        closed = await raw._socket.receive(PATIENCE_S)  # and no Engine.IO CLOSE before
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, RESTARTING)
        assert await ending == 0
    await crowd.close()


async def test_a_poll_that_waits_hears_it_and_the_next_one_is_refused(alone: Process) -> None:
    crowd = Crowd(alone.start().url)
    account = await crowd.account()
    async with Polling(alone.url) as client:
        assert (await client.connect("/system", account.access_token)).startswith("40/system")
        polling = asyncio.create_task(client.receive())
        await asyncio.sleep(0.2)  # nothing tells that the poll has arrived
        people = [Raw(alone.url) for _ in range(20 * BATCH_MIN)]  # the process is not gone at once
        for person in people:
            await person.__aenter__()
        ending = asyncio.create_task(asyncio.to_thread(alone.terminate))
        assert (await polling).startswith('42/system,["system:draining",')
        assert (await client.poll())[0] == 400
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await http.ws_connect(f"{alone.url}/socket.io/?EIO=4&transport=websocket")
            assert caught.value.status == 503
            async with http.get(f"{alone.url}/socket.io/?EIO=4&transport=polling") as response:
                assert (response.status, (await response.json())["error"]["code"]) == (503, "unavailable")
                assert response.headers["Retry-After"] == "1"
        for person in people:
            await person.__aexit__()
        assert await ending == 0
    await crowd.close()
