"""`python formation.py --web N`: several processes on one port, and what happens when any of them ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from storage.embedded import free_port
from tests.faults.test_kill import close_all
from tests.support import ROOT, Crowd, Heard, direct

WAIT_S = 180.0  # a busy machine starts processes slowly
COUNT = 3


def environment(data_dir: Path, **env: str) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY")}
    basics = {"DATA_DIR": str(data_dir), "PORT": "0", "BCRYPT_ROUNDS": "4", "RATE_LIMIT_SCALE": "0"}
    return {**mine, **basics, "DRAIN_TIMEOUT_S": "4", **env}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


class Running:
    """A formation, and all that it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, data_dir: Path, count: int = COUNT, stdin: int = subprocess.DEVNULL, **env: str) -> Running:
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "formation.py", "--web", str(count), cwd=ROOT, env=environment(data_dir, **env),
                stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, limit=2**20,
            )
        )  # fmt: skip

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            async with self._news:
                self.lines.append(line.decode().rstrip())
                self._news.notify_all()
        async with self._news:
            self.lines.append("")
            self._news.notify_all()

    async def says(self, pattern: str, after: int = 0) -> tuple[int, re.Match[str]]:
        """The first line from `after` on that matches, and the number of the line behind it."""
        async with asyncio.timeout(WAIT_S), self._news:
            number = after
            while True:
                while number < len(self.lines):
                    if found := re.search(pattern, self.lines[number]):
                        return number + 1, found
                    assert self.lines[number] or number + 1 < len(self.lines), "it ended:\n" + "\n".join(self.lines)
                    number += 1
                await self._news.wait()

    async def url(self) -> str:
        return (await self.says(r"parley listening on (http://\S+)"))[1][1]

    def pids(self) -> dict[str, int]:
        """The process that is in each place, by what was said."""
        found = [re.fullmatch(r"formation: (w\d+|worker) is process (\d+)", line) for line in self.lines]
        return {match[1]: int(match[2]) for match in found if match}

    async def ended(self) -> int:
        async with asyncio.timeout(WAIT_S):
            code = await self.process.wait()
            await self._reading
        return code

    async def terminate(self) -> int:
        self.process.terminate()
        return await self.ended()


@contextlib.asynccontextmanager
async def formation(data_dir: Path, redis_url: str, **env: str) -> AsyncIterator[tuple[Running, str]]:
    running = await Running.start(data_dir, COUNT, subprocess.DEVNULL, REDIS_URL=redis_url, **env)
    try:
        yield running, await running.url()
    finally:
        if running.process.returncode is None:
            running.process.kill()
            await running.ended()


async def who_answer(url: str, count: int, tries: int = 300) -> set[str]:
    """The processes behind a port; each request is a connection of its own."""
    seen: set[str] = set()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for _ in range(tries):
            async with session.get(f"{url}/api/v1/health/detailed") as response:
                seen.add((await response.json())["started_at"])
            if len(seen) == count:
                break
    return seen


async def until_dead(pids: list[int]) -> None:
    async with asyncio.timeout(WAIT_S):
        while any(alive(pid) for pid in pids):
            await asyncio.sleep(0.05)


async def test_they_are_one_server_on_one_port_and_end_together(tmp_path: Path, redis_url: str) -> None:
    async with formation(tmp_path, redis_url) as (running, url):
        assert len(await who_answer(url, COUNT)) == COUNT
        crowd = Crowd(url)
        people = [await crowd.person(f"P{number}") for number in range(6)]
        conversation = await direct(people[0], people[5])
        heard = Heard(people[5], "chat:message")
        send = {"conversation_id": conversation["id"], "client_id": "x", "text": "hello"}
        sent = (await people[0].call("chat:send", send))["message"]
        await heard.wait("chat:message", message=sent)
        processes = [*running.pids().values(), int(re.findall(r"\d+", (tmp_path / "db.json").read_text())[-1])]
        assert await running.terminate() == 0
        await close_all(crowd)
        assert not any(alive(pid) for pid in processes)
        assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
            *[f"parley-w{n}.log" for n in (1, 2, 3)], "parley-worker.log"
        ]  # fmt: skip


async def test_a_process_that_dies_is_said_so_and_started_again(tmp_path: Path, redis_url: str) -> None:
    async with formation(tmp_path, redis_url) as (running, url):
        before = await who_answer(url, COUNT)
        said = 0
        for number in range(2):
            killed = running.pids()["w2"]
            os.kill(killed, signal.SIGKILL)
            said, found = await running.says(r"w2 was killed by SIGKILL; it is started again in ([\d.]+) s", said)
            assert float(found[1]) == 0.5 * 2**number
            said, _ = await running.says(r"w2 is process", said)
        async with asyncio.timeout(WAIT_S):
            while len(await who_answer(url, COUNT)) < COUNT:
                pass
        after = await who_answer(url, COUNT)
        assert len(before & after) == COUNT - 1
        assert await running.terminate() == 0


async def test_a_rolling_restart_replaces_all_one_after_the_other(tmp_path: Path, redis_url: str) -> None:
    async with formation(tmp_path, redis_url) as (running, url):
        crowd = Crowd(url)
        person = await crowd.person()
        before = running.pids()
        start = len(running.lines)
        running.process.send_signal(signal.SIGHUP)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            done = asyncio.create_task(running.says("formation: restarted", start))
            while not done.done():  # at every moment somebody answers, and nothing is reset
                async with session.get(f"{url}/api/v1/health/live") as response:
                    assert response.status == 200
        said = [line for line in running.lines[start:] if re.match(r"formation: (w\d|worker)", line)]
        after = running.pids()
        assert said == [
            line for name in ("w1", "w2", "w3", "worker")
            for line in (f"formation: {name} is process {after[name]}", f"formation: {name} is ready again")
        ]  # fmt: skip
        assert not set(before.values()) & set(after.values())
        assert (await person.call("chat:list", {}))["items"] == []
        assert await running.terminate() == 0
        await close_all(crowd)


async def test_its_processes_do_not_outlive_a_killed_formation(tmp_path: Path, redis_url: str) -> None:
    async with formation(tmp_path, redis_url) as (running, _):
        pids = list(running.pids().values())
        running.process.kill()
        await until_dead(pids)


async def test_a_closed_terminal_ends_it(tmp_path: Path, redis_url: str) -> None:
    """The same signal as for a rolling restart."""
    terminal, inside = pty.openpty()
    running = await Running.start(tmp_path, 2, stdin=inside, REDIS_URL=redis_url)
    os.close(inside)
    await running.url()
    os.close(terminal)
    running.process.send_signal(signal.SIGHUP)
    assert await running.ended() == 0
    assert "formation: draining" in running.lines


async def test_told_to_stop_while_it_starts(tmp_path: Path, redis_url: str) -> None:
    running = await Running.start(tmp_path, REDIS_URL=redis_url)
    await running.says("w3 is process")
    assert await running.terminate() == 0
    assert not any("listening" in line for line in running.lines)
    assert not any(alive(pid) for pid in running.pids().values())


async def test_without_redis_it_says_what_is_missing(tmp_path: Path) -> None:
    running = await Running.start(tmp_path, REDIS_URL="")
    assert await running.ended() == 1
    (line,) = [line for line in running.lines if line]
    assert line.startswith("parley cannot start:")
    assert "REDIS_URL" in line


async def test_a_port_of_someone_else_is_refused(tmp_path: Path, redis_url: str) -> None:
    port = free_port()
    other = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
    async with other:
        running = await Running.start(tmp_path, REDIS_URL=redis_url, PORT=str(port))
        assert await running.ended() == 1
    assert "choose another PORT" in running.lines[0]


async def test_a_process_that_cannot_start_ends_the_formation(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "logs").write_text("not a directory")
    running = await Running.start(tmp_path, REDIS_URL=redis_url)
    assert await running.ended() == 1
    line, found = await running.says(r"(w\d|worker) ended with exit code 1 before it was ready")
    await running.says(f"parley cannot start: {found[1]} ended before it was ready", line)
    assert any("cannot start: logs cannot be written to" in said for said in running.lines)
    assert not any("Traceback" in said for said in running.lines)
    assert not any(alive(pid) for pid in running.pids().values())


@pytest.mark.parametrize("count", [0, 1, 65])
async def test_a_number_that_makes_no_sense_is_refused(tmp_path: Path, redis_url: str, count: int) -> None:
    running = await Running.start(tmp_path, count, REDIS_URL=redis_url)
    assert await running.ended() == 2
    assert "--web must be between 2 and 64" in "\n".join(running.lines)
