"""Over capacity: a connection is refused cheaply and told when to come back; nobody inside notices."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ops.lag import LoopLag
from realtime import admission
from server import Server
from storage.embedded import EmbeddedMongo
from tests.socket.protocol import refusal, settings_for_tests
from tests.support import NAMESPACES, PATIENCE_S, Crowd, Raw, serving, until

Json = dict[str, Any]


@asynccontextmanager
async def full_at(
    connections_max: int, root: Path, mongo_url: str, late: bool = False
) -> AsyncIterator[tuple[Server, Crowd]]:
    """`late`: this server also refuses while its loop is late, as this machine may make it at any time."""
    settings = settings_for_tests(root, connections_max=connections_max)
    async with serving(settings, mongo_url) as (server, url):
        if not late:
            server.lag.stop()
            server.lag.seconds = 0.0
        crowd = Crowd(url)
        try:
            yield server, crowd
        finally:
            await crowd.close()


@contextmanager
def standing_still(database: EmbeddedMongo) -> Iterator[None]:
    """It answers nobody meanwhile."""
    assert database._process is not None
    os.kill(database._process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(database._process.pid, signal.SIGCONT)


async def refused(url: str, token: str = "no token at all", namespace: str = "/chat") -> Json:
    async with Raw(url) as raw:
        return refusal(await raw.connect(namespace, token), namespace)


async def refusals_counted(url: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    rows = [line for line in lines if line.startswith("parley_admissions_refused_total{")]
    return {row.split('"')[1]: float(row.rpartition(" ")[2]) for row in rows}


async def test_a_full_server_refuses_who_comes_and_keeps_who_is_in(tmp_path: Path, mongo_url: str) -> None:
    async with full_at(2, tmp_path, mongo_url) as (server, crowd):
        ada, ben = await crowd.person("Ada", ("/chat",)), await crowd.account("Ben")
        before = await refusals_counted(crowd.url)
        async with Raw(crowd.url) as inside:
            for namespace in NAMESPACES:  # all of them, though the server is full with the first
                assert (await inside.connect(namespace, ben.access_token)).startswith(f"40{namespace},")
            assert len(server.connections) == 2
            error = await refused(crowd.url)
            assert (error["code"], error["retryable"]) == ("over_capacity", True)
            assert 750 <= error["retry_after_ms"] <= 1_300
            for namespace in NAMESPACES:  # one who was in once may come and go
                await inside.send(f"41{namespace},")
            await until(lambda: len(server.connections) == 1)
            third = await crowd.person("Cleo", ("/chat",))
            assert (await inside.connect("/chat", ben.access_token)).startswith("40/chat,")
            for person in (ada, third):
                assert (await person.call("chat:list", {}))["items"] == []
        after = await refusals_counted(crowd.url)
        assert after["connections"] - before.get("connections", 0) == 1


async def test_a_refusal_looks_nothing_up(tmp_path: Path) -> None:
    """The database stands still, and whoever is refused does not notice."""
    embedded = EmbeddedMongo(tmp_path / "mongo")
    url = embedded.start()
    try:
        async with full_at(1, tmp_path, url) as (_, crowd):
            await crowd.person("Ada", ("/chat",))
            ben = await crowd.account("Ben")
            with standing_still(embedded):
                for token in (ben.access_token, "garbage", ""):
                    assert (await refused(crowd.url, token))["code"] == "over_capacity"
    finally:
        embedded.stop()


async def test_too_many_log_ins_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LOGINS_MAX", 3)
    embedded = EmbeddedMongo(tmp_path / "mongo")
    url = embedded.start()
    try:
        async with full_at(100, tmp_path, url) as (server, crowd):
            accounts = [await crowd.account(f"P{number}") for number in range(4)]
            async with AsyncExitStack() as stack:
                waiting = [await stack.enter_async_context(Raw(crowd.url)) for _ in range(3)]
                with standing_still(embedded):
                    for raw, account in zip(waiting, accounts, strict=False):
                        await raw.send("40/chat," + json.dumps({"token": account.access_token}))
                    await until(lambda: server.gate.admission.entering == 3)
                    assert (await refused(crowd.url, accounts[3].access_token))["code"] == "over_capacity"
                for raw in waiting:
                    assert str(await raw.receive()).startswith("40/chat,")
                assert server.gate.admission.entering == 0
                await crowd.connect(accounts[3], ("/chat",))
    finally:
        embedded.stop()


async def late(enough: Callable[[], bool]) -> None:
    """This loop, which is the server's too, has more to do than it can for as long as it takes."""
    async with asyncio.timeout(PATIENCE_S):
        while not enough():
            time.sleep(0.5)
            await asyncio.sleep(0.01)


async def test_a_loop_that_is_late(tmp_path: Path, mongo_url: str) -> None:
    async with full_at(100, tmp_path, mongo_url, late=True) as (server, crowd):
        account = await crowd.account()
        async with Raw(crowd.url) as raw:
            await late(lambda: server.lag.seconds > admission.LAG_MAX_S)
            error = refusal(await raw.connect("/chat", account.access_token), "/chat")
            assert error["code"] == "over_capacity"
            async with aiohttp.ClientSession() as http, http.get(f"{crowd.url}/api/v1/health/detailed") as response:
                assert (await response.json())["performance"]["loop_lag_ms"] > 0
            await until(lambda: server.lag.seconds < admission.LAG_MAX_S, 30)
            assert (await raw.connect("/chat", account.access_token)).startswith("40/chat,")


async def test_the_lag_of_a_quiet_loop_is_small_and_an_old_one_is_forgotten() -> None:
    lag = LoopLag()
    lag.start()
    try:
        time.sleep(3.0)
        await asyncio.sleep(0.2)
        assert 0.01 < lag.seconds < admission.LAG_MAX_S, "one stall is no overload"
        await late(lambda: lag.seconds > admission.LAG_MAX_S)
        await until(lambda: lag.seconds < 0.05, 30)
    finally:
        lag.stop()


async def test_hints_grow_with_how_many_wait_and_differ(
    tmp_path: Path, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "RETURNS_PER_S", 1)  # so that the time this takes matters little
    async with full_at(1, tmp_path, mongo_url) as (_, crowd):
        await crowd.person("Ada", ("/chat",))
        hints = [(await refused(crowd.url))["retry_after_ms"] for _ in range(100)]
        assert sum(hints[20:30]) > 2 * sum(hints[:10])
        assert len(set(hints)) > 90
        for number, hint in enumerate(hints):
            assert 750 <= hint <= min(1 + number, admission.RETRY_MAX_S) * 1_000 * (1 + admission.JITTER)


async def test_the_namespaces_of_a_connection_take_one_place(tmp_path: Path, mongo_url: str) -> None:
    async with full_at(1, tmp_path, mongo_url) as (_, crowd):
        await crowd.person("Ada", ("/chat",))
        async with Raw(crowd.url) as raw:
            for namespace in NAMESPACES:
                await raw.send(f'40{namespace},{{"token":"x"}}')
            hints = {refusal(await raw.receive(), namespace)["retry_after_ms"] for namespace in NAMESPACES}
        assert len(hints) == 1


async def test_a_good_client_comes_back_when_it_was_told_to(tmp_path: Path, mongo_url: str) -> None:
    async with full_at(1, tmp_path, mongo_url) as (_, crowd):
        ada, ben = await crowd.person("Ada", ("/chat",)), await crowd.account("Ben")
        before = await refusals_counted(crowd.url)
        coming = asyncio.create_task(crowd.connect(ben, ("/chat", "/system")))
        async with asyncio.timeout(PATIENCE_S):
            while await refusals_counted(crowd.url) == before:
                await asyncio.sleep(0.05)
        await ada.close()
        person = await coming
        assert (await person.call("chat:list", {}))["items"] == []
        refusals = (await refusals_counted(crowd.url))["connections"] - before.get("connections", 0)
        assert refusals == 2  # once, on both namespaces
