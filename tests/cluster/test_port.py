"""Two processes given the same PORT on one host share it, and both get connections."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp

from storage.embedded import free_port
from tests.cluster.test_across import Scene, two_processes
from tests.faults.test_kill import close_all
from tests.support import Heard, direct

ATTEMPTS = 200


async def started_at(url: str) -> str:
    """Tells the processes apart; each request is a connection of its own."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(f"{url}/api/v1/health/detailed") as response:
            return str((await response.json())["started_at"])


async def test_both_accept_on_one_port(tmp_path: Path, mongo_url: str, redis_url: str) -> None:
    with two_processes(tmp_path, mongo_url, redis_url, PORT=str(free_port())) as (a, b):
        assert a.url == b.url
        seen: set[str] = set()
        for _ in range(ATTEMPTS):
            seen.add(await started_at(a.url))
            if len(seen) == 2:
                break
        assert len(seen) == 2
        scene = Scene(a.url, b.url)
        ada, ben = await scene.person("Ada", a.url), await scene.person("Ben", a.url)
        heard = Heard(ben, "chat:message")
        conversation = await direct(ada, ben)
        sent = await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "x", "text": "hello"})
        await heard.wait("chat:message", message=sent["message"])
        a.kill()
        await asyncio.gather(*[started_at(b.url) for _ in range(20)])  # none goes to the dead one
        for person in (ada, ben):
            assert (await person.call("chat:list", {}))["items"][0]["id"] == conversation["id"]
        await close_all(scene.crowd)
        b.kill()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(a.url.rpartition(":")[2]))) != 0
