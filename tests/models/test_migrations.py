"""Migrations: their order, their rounds, and what interruptions and several processes do to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from settings import Settings
from storage.migrations import SETTLE_S, Migration, Migrations, Step
from storage.mongo import Database

LAST = 9


class Numbers:
    """Documents {_id: 0 to LAST, version} that a migration brings to version 2, two a step; notes what it did."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("numbers")
        self.positions: list[Any] = []
        self.fail_at: int | None = None

    async def fill(self) -> None:
        await self.collection.insert_many([{"_id": number, "version": 1} for number in range(LAST + 1)])

    async def old(self) -> list[int]:
        return [found["_id"] for found in await self.collection.find({"version": 1}).to_list(None)]

    async def step(self, position: Any) -> Step:
        self.positions.append(position)
        first = position or 0
        changed = 0
        for number in (first, first + 1):
            if number == self.fail_at:
                raise RuntimeError("the process dies")
            result = await self.collection.update_one({"_id": number, "version": 1}, {"$set": {"version": 2}})
            changed += result.modified_count
        return Step(first + 2 if first + 2 <= LAST else None, changed)


@pytest.fixture
async def database(settings: Settings, mongo_url: str) -> AsyncIterator[Database]:
    database = Database(mongo_url, settings.mongo_db, single=True)
    yield database
    database.close()


def migrations(database: Database, *numbers: Numbers) -> Migrations:
    declared = [Migration(count, f"numbers {count}", "numbers", one.step) for count, one in enumerate(numbers, 1)]
    return Migrations(database, declared[::-1])


async def state(database: Database, number: int = 1) -> dict[str, Any]:
    found = await database.collection("migrations").find_one({"_id": number})
    assert found is not None
    return dict(found)


async def time_goes_on(database: Database) -> None:
    """The first round has ended so long ago that the next one may begin."""
    moved = {"$set": {"through_at": datetime.now(UTC) - timedelta(seconds=SETTLE_S + 1)}}
    await database.collection("migrations").update_many({"through_at": {"$exists": True}}, moved)


async def test_a_database_with_nothing_in_it_is_done(database: Database) -> None:
    numbers = Numbers(database)
    await migrations(database, numbers).work(30)
    assert numbers.positions == []
    assert await migrations(database, numbers).done(1)


async def test_rounds_go_on_until_one_finds_nothing(database: Database) -> None:
    numbers = Numbers(database)
    await numbers.fill()
    assert not await migrations(database, numbers).done(1)
    await migrations(database, numbers).work(30)
    assert await numbers.old() == []
    assert numbers.positions == [None, 2, 4, 6, 8]
    assert not await migrations(database, numbers).done(1)
    await migrations(database, numbers).work(30)
    assert len(numbers.positions) == 5  # settling

    await numbers.collection.update_one({"_id": 7}, {"$set": {"version": 1}})  # by a process of the version before
    await time_goes_on(database)
    await migrations(database, numbers).work(30)
    assert await numbers.old() == []
    assert not await migrations(database, numbers).done(1)

    await time_goes_on(database)
    await migrations(database, numbers).work(30)
    assert await migrations(database, numbers).done(1)
    assert numbers.positions == [None, 2, 4, 6, 8] * 3
    found = await state(database)
    assert (found["changed"], found["rounds"], found["steps"]) == (11, 3, 15)
    await migrations(database, numbers).work(30)
    assert len(numbers.positions) == 15


async def test_it_goes_on_where_it_was_interrupted(database: Database) -> None:
    numbers = Numbers(database)
    await numbers.fill()
    numbers.fail_at = 5
    with pytest.raises(RuntimeError):
        await migrations(database, numbers).work(30)
    assert await numbers.old() == [5, 6, 7, 8, 9]
    assert (await state(database))["position"] == 4
    numbers.fail_at = None
    await migrations(database, numbers).work(30)
    assert await numbers.old() == []
    assert numbers.positions == [None, 2, 4, 4, 6, 8]


async def test_it_ends_in_time_and_goes_on_later(database: Database) -> None:
    numbers = Numbers(database)
    await numbers.fill()
    for _ in range(5):
        assert len(numbers.positions) < 5
        await migrations(database, numbers).work(0.001)
        if len(numbers.positions) == 0:
            break
    while await numbers.old():
        await migrations(database, numbers).work(0.02)
    assert numbers.positions == [None, 2, 4, 6, 8]


async def test_of_two_processes_one_goes_on(database: Database) -> None:
    numbers = Numbers(database)
    await numbers.fill()
    await asyncio.gather(*[migrations(database, numbers).work(30) for _ in range(3)])
    assert await numbers.old() == []
    found = await state(database)
    assert (found["steps"], found["rounds"]) == (5, 1)
    assert len(numbers.positions) <= 5 + 2  # each of the others finds out with its first step


async def test_the_next_begins_when_the_one_before_is_through(database: Database) -> None:
    first, second = Numbers(database), Numbers(database)
    await first.fill()
    first.fail_at = 3
    with pytest.raises(RuntimeError):
        await migrations(database, first, second).work(30)
    assert second.positions == []
    first.fail_at = None
    await migrations(database, first, second).work(30)
    assert first.positions == [None, 2, 2, 4, 6, 8]
    assert second.positions == [None, 2, 4, 6, 8]
    assert not await migrations(database, first, second).done(1)
