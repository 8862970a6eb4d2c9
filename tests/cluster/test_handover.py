"""A formation's queues: what connects while a process is replaced, killed, drained or missing is served all the same.

Each connection here is as a client makes it, and nothing tries again: whatever is reset, refused or late fails a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ops.listening import listen
from settings import SettingsError, load
from tests.cluster.test_formation import COUNT, Running, formation, who_answer
from tests.faults.test_kill import close_all
from tests.support import Crowd, Raw, until

ANSWER_S = 60.0  # so much longer than any wait that a busy machine does not reach it
QUEUED = 30


class Request:
    """A connection with one request on it, as bytes: nothing here tries again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def ask(cls, url: str) -> Request:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /api/v1/health/detailed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return cls(reader, writer)

    async def answered_by(self) -> str:
        """What tells the processes apart."""
        try:
            async with asyncio.timeout(ANSWER_S):
                head, _, body = (await self._reader.read()).partition(b"\r\n\r\n")
        finally:
            self._writer.close()
        assert head.startswith(b"HTTP/1.1 200 "), head
        return str(json.loads(body)["started_at"])


class Storm:
    """People who come and ask without a pause, each in another way. Any of them that fails, fails the test."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._enough = False
        self.answers = {"new": 0, "kept": 0, "socket": 0}

    async def until(self, done: Coroutine[Any, Any, object]) -> None:
        ways = [self._new] * 3 + [self._kept] + [self._socket] * 2
        coming = [asyncio.create_task(way()) for way in ways]
        over = asyncio.create_task(done)
        try:
            await asyncio.wait([over, *coming], return_when=asyncio.FIRST_COMPLETED)
            self._enough = True
            await asyncio.gather(*coming)
            await over
        finally:
            for task in (over, *coming):
                task.cancel()
            await asyncio.wait([over, *coming])
        assert min(self.answers.values()) > 0

    async def _new(self) -> None:
        """A connection for every request."""
        while not self._enough:
            await (await Request.ask(self._url)).answered_by()
            self.answers["new"] += 1

    async def _kept(self) -> None:
        """One connection as long as it is kept; a POST is never sent again by the client library."""
        connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=300)
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not self._enough:
                async with session.post(f"{self._url}/api/v1/auth/login", json={}) as response:
                    assert response.status == 422
                    assert "error" in await response.json()
                self.answers["kept"] += 1

    async def _socket(self) -> None:
        """A new Engine.IO session, which must not be turned away."""
        while not self._enough:
            async with asyncio.timeout(ANSWER_S), Raw(self._url) as raw:
                assert raw.handshake["sid"]
            self.answers["socket"] += 1


async def all_serve(url: str) -> set[str]:
    """Returns once every process has a slot again; which they are."""
    async with asyncio.timeout(ANSWER_S):
        while len(seen := await who_answer(url, COUNT)) < COUNT:
            pass
    return seen


def signal_web(running: Running, number: signal.Signals) -> None:
    for name, pid in running.pids().items():
        if name != "worker":
            os.kill(pid, number)


def accepted_on(running: Running, name: str) -> int:
    """From how many listening sockets a process accepts. It has inherited all, and accepts on duplicates."""
    listening = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"}
    count = 0
    for path in Path(f"/proc/{running.pids()[name]}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed just now
            count += os.readlink(path).removeprefix("socket:[").rstrip("]") in listening
    return count - COUNT


@contextlib.contextmanager
def broken(data_dir: Path) -> Iterator[None]:
    """No process can start meanwhile; those that run do not notice."""
    logs, kept = data_dir / "logs", data_dir / "logs-kept"
    logs.rename(kept)
    logs.write_text("not a directory")
    try:
        yield
    finally:
        logs.unlink()
        kept.rename(logs)


async def test_a_rolling_restart_under_a_storm_loses_no_request(tmp_path: Path, redis_url: str) -> None:
    async with formation(tmp_path, redis_url) as (running, url):
        start = len(running.lines)
        running.process.send_signal(signal.SIGHUP)
        await Storm(url).until(running.says("formation: restarted", start))
        assert await running.terminate() == 0


async def test_what_waits_when_all_are_killed_is_answered_by_their_successors(tmp_path: Path, redis_url: str) -> None:
    async with formation(tmp_path, redis_url) as (running, url):
        before = await who_answer(url, COUNT)
        signal_web(running, signal.SIGSTOP)  # none of them accepts what comes now
        waiting = [await Request.ask(url) for _ in range(QUEUED)]
        start = len(running.lines)
        signal_web(running, signal.SIGKILL)
        for number in range(1, COUNT + 1):
            await running.says(f"w{number} was killed by SIGKILL", start)
        waiting += [await Request.ask(url) for _ in range(QUEUED)]  # and none of them is there
        answered_by = set(await asyncio.gather(*[request.answered_by() for request in waiting]))
        assert not answered_by & before
        assert await running.terminate() == 0


async def test_what_waits_for_one_that_is_killed_need_not_wait_for_its_successor(
    tmp_path: Path, redis_url: str
) -> None:
    async with formation(tmp_path, redis_url) as (running, url):
        before = await all_serve(url)
        os.kill(running.pids()["w2"], signal.SIGSTOP)
        asking = [asyncio.create_task((await Request.ask(url)).answered_by()) for _ in range(4 * QUEUED)]
        with broken(tmp_path):
            os.kill(running.pids()["w2"], signal.SIGKILL)
            answered_by = set(await asyncio.gather(*asking))
            assert len(answered_by) < COUNT
            await until(lambda: accepted_on(running, "w1") == accepted_on(running, "w3") == COUNT)
            await running.says(r"w2 ended with exit code 1; it is started again in [2-9]")
            asking = [asyncio.create_task((await Request.ask(url)).answered_by()) for _ in range(4 * QUEUED)]
            assert set(await asyncio.gather(*asking)) < before
        assert len(await all_serve(url) - before) == 1
        await until(lambda: accepted_on(running, "w1") == accepted_on(running, "w3") == 1)
        assert await running.terminate() == 0


async def test_one_that_is_told_to_drain_by_someone_else_keeps_nobody_waiting(tmp_path: Path, redis_url: str) -> None:
    async with formation(tmp_path, redis_url) as (running, url):
        crowd = Crowd(url)
        for number in range(6):  # it lingers for those it has sent away
            await crowd.person(f"P{number}")
        start = len(running.lines)
        os.kill(running.pids()["w2"], signal.SIGTERM)

        async def back() -> None:
            number, _ = await running.says("w2 ended with exit code 0; it is started again in 0.5 s", start)
            await running.says("w2 is process", number)

        await Storm(url).until(back())
        assert await running.terminate() == 0
        await close_all(crowd)


async def test_a_restart_with_code_that_does_not_start_changes_nothing(tmp_path: Path, redis_url: str) -> None:
    async with formation(tmp_path, redis_url) as (running, url):
        before = await all_serve(url)
        start = len(running.lines)
        with broken(tmp_path):
            running.process.send_signal(signal.SIGHUP)
            await Storm(url).until(running.says("the restart ends here: w1 and those after it", start))
            await running.says("the new process of w1 ended with exit code 1 before it was ready", start)
        assert await all_serve(url) == before
        start = len(running.lines)
        running.process.send_signal(signal.SIGHUP)
        await running.says("formation: restarted", start)
        assert not await all_serve(url) & before
        assert await running.terminate() == 0


async def test_told_to_stop_it_refuses_at_once(tmp_path: Path, redis_url: str) -> None:
    """A connection in the queue of a process that never comes would wait in vain."""
    async with formation(tmp_path, redis_url) as (running, url):
        crowd = Crowd(url)
        await crowd.person()
        running.process.terminate()

        def refused() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0

        await until(refused)
        assert running.process.returncode is None  # it still drains
        assert await running.ended() == 0
        await close_all(crowd)


def test_every_slot_listens_at_every_address_of_the_host_on_one_port() -> None:
    slots = listen("localhost", 0, 3)
    found = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    names = [[one.getsockname() for one in slot] for slot in slots]
    for slot in slots:
        for one in slot:
            one.close()
    assert [{name[0] for name in slot} for slot in names] == [found] * 3
    assert len({name[1] for slot in names for name in slot}) == 1


def test_a_host_that_is_not_ours_leaves_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="assign"):
        listen("192.0.2.1", 0, 3)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["PORT_FDS", "PORT_FDS_OTHERS"])
@pytest.mark.parametrize("text", ["0", "9999", "-1", "x", "99999999999999999999"])
def test_a_descriptor_that_is_no_socket_is_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load({name: text})
