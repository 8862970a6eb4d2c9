"""A process that dies in a transaction holds what it touched only until the others have missed it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bson import Binary
from pymongo.errors import ServerSelectionTimeoutError

from bench.processes import ROOT
from contract.errors import ParleyError
from ops.tasks import end
from storage.abandoned import ABANDONED_LOOKS, Abandoned
from storage.embedded import free_port
from storage.mongo import Collection, Database, Transaction

IN_A_TRANSACTION = """
import asyncio, sys
from storage.mongo import Database

async def main():
    database = Database(sys.argv[1], sys.argv[2], single=True)
    await database.connect()
    tending = asyncio.create_task(database.tend_forever())
    things = database.collection("things")

    async def work(session):
        await things.update_one({"_id": "thing"}, {"$inc": {"n": 1}}, session=session)
        print("in it", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

    await database.transact(work)
    print("done", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@asynccontextmanager
async def in_a_transaction(mongo_url: str, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has changed the thing and waits for a line before it commits."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", IN_A_TRANSACTION, mongo_url, name, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"in it\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def database(mongo_url: str) -> AsyncIterator[Database]:
    database = Database(mongo_url, f"t_{secrets.token_hex(6)}", single=True)
    await database.connect()
    await database.collection("things").insert_one({"_id": "thing", "n": 0})
    tending = asyncio.create_task(database.tend_forever())
    yield database
    await end(tending)
    database.close()


async def add_one(database: Database) -> None:
    async def work(tx: Transaction) -> None:
        await database.collection("things").update_one({"_id": "thing"}, {"$inc": {"n": 1}}, session=tx)

    await database.transact(work)


async def value(things: Collection) -> int:
    found = await things.find_one({"_id": "thing"})
    assert found is not None
    return int(found["n"])


async def test_what_a_killed_process_held_is_free_before_anyone_gives_up(database: Database, mongo_url: str) -> None:
    things = database.collection("things")
    async with in_a_transaction(mongo_url, things.database.name) as process:
        process.kill()
        await process.wait()
        await add_one(database)
        assert await value(things) == 1  # what it had not committed is not there


async def test_a_frozen_process_does_its_transaction_again(database: Database, mongo_url: str) -> None:
    things = database.collection("things")
    async with in_a_transaction(mongo_url, things.database.name) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.send_signal(signal.SIGSTOP)
        await add_one(database)
        process.send_signal(signal.SIGCONT)
        process.stdin.write(b"\n\n")
        assert await process.stdout.readline() == b"in it\n"  # its first try came to nothing
        assert await process.stdout.readline() == b"done\n"
        assert await value(things) == 2


async def test_what_a_living_process_holds_is_left_to_it(database: Database, mongo_url: str) -> None:
    things = database.collection("things")
    async with in_a_transaction(mongo_url, things.database.name) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with pytest.raises(ParleyError) as caught:
            await add_one(database)
        assert caught.value.code == "conflict"
        process.stdin.write(b"\n")
        assert await process.stdout.readline() == b"done\n"
        assert await value(things) == 1


class Killed:
    """Takes note instead of killing."""

    def __init__(self) -> None:
        self.sessions: list[list[Binary]] = []

    async def __call__(self, sessions: list[Binary]) -> None:
        self.sessions.append(sessions)


def session() -> Binary:
    return Binary(secrets.token_bytes(16), 4)


async def look(watcher: Abandoned) -> None:
    """As often as it takes to believe that someone is dead."""
    for _ in range(ABANDONED_LOOKS + 2):
        await watcher.tend()


async def test_who_has_no_sessions_left_is_not_mourned(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """To kill the sessions of an empty list is to kill all that the server has."""
    beats, killed = database.collection("beats"), Killed()
    quiet, watcher = Abandoned(beats, killed), Abandoned(beats, killed)
    await quiet.use(session())
    await watcher.tend()
    monkeypatch.setattr("storage.abandoned.SESSION_S", 0.0)
    await quiet.tend()
    assert await beats.find({}).to_list(None) == []
    await beats.insert_one({"_id": "an older version", "beat": 7, "sessions": []})
    await look(watcher)
    assert await beats.find({}).to_list(None) == []
    assert killed.sessions == []


async def test_who_leaves_is_not_mourned_and_who_is_silent_is(database: Database) -> None:
    beats, killed = database.collection("beats"), Killed()
    leaving, silent, watcher = (Abandoned(beats, killed) for _ in range(3))
    own = session()
    await asyncio.gather(leaving.use(session()), silent.use(own))
    await watcher.tend()
    await leaving.leave()
    assert killed.sessions == []
    await look(watcher)
    assert killed.sessions == [[own]]


async def test_while_the_database_is_away_all_who_wait_fail_together(database: Database) -> None:
    url = f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=500"
    away = Database(url, "t_away", single=True)
    beats, killed = away.collection("beats"), Killed()
    process = Abandoned(beats, killed)
    async with asyncio.timeout(15):  # one after the other it would be 20 s
        outcomes = await asyncio.gather(*(process.use(session()) for _ in range(40)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ServerSelectionTimeoutError}
    away.close()


class Held:
    """Beats whose first write ends when it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.get_running_loop().create_future()
        self.writes = 0

    async def update_one(self, *_: Any, **__: Any) -> None:
        self.writes += 1
        await self.go


class Counted(Abandoned):
    """Who asks again and again without letting anyone else run would never be stopped from outside."""

    asked = 0

    async def _write(self) -> None:
        self.asked += 1
        assert self.asked < 100, "it spins"
        await super()._write()


async def test_who_comes_at_the_moment_a_write_ends_gets_the_next_one() -> None:
    beats: Any = Held()
    process = Counted(beats, Killed())
    first = asyncio.create_task(process.use(session()))
    while not beats.writes:
        await asyncio.sleep(0)

    async def come() -> None:
        await beats.go  # woken in the same round of the loop as the write that ends, just after it
        await process.use(session())

    second = asyncio.create_task(come())
    await asyncio.sleep(0)
    beats.go.set_result(None)
    await asyncio.gather(first, second)
    assert beats.writes == 2
