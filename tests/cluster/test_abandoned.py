"""A process that dies in a transaction holds what it touched only until the others have missed it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.processes import ROOT
from contract.errors import ParleyError
from ops.tasks import end
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
    async def work(session: Transaction) -> None:
        await database.collection("things").update_one({"_id": "thing"}, {"$inc": {"n": 1}}, session=session)

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
