"""Who hashes a password next: bounded, in turns by address, and not for those who have gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from contract.errors import ParleyError
from security.hashing import WAITING_MAX, WAITING_PER_ACCOUNT, WAITING_PER_ADDRESS, HashQueue
from tests.support import PATIENCE_S, until


class Caller:
    def __init__(self, address: str) -> None:
        self.address = address
        self.left = False

    def gone(self) -> bool:
        return self.left


class Hall:
    """A queue of one thread, busy until `open` is called. `order` lists what was hashed."""

    def __init__(self) -> None:
        self.queue = HashQueue(reserved=False)
        self.order: list[str] = []
        self._door = threading.Event()

    async def close(self) -> asyncio.Task[None]:
        task = self.ask(Caller("first"), "first")
        await until(lambda: self.queue.waiting == 0 and self.queue._threads[-1].busy)
        return task

    def ask(self, caller: Caller, name: str, owner: str | None = None) -> asyncio.Task[None]:
        def work() -> None:
            self._door.wait(PATIENCE_S)
            self.order.append(name)

        return asyncio.create_task(self.queue.run(caller, work, owner))

    def open(self) -> None:
        self._door.set()


@pytest.fixture
def hall() -> Iterator[Hall]:
    made = Hall()
    yield made
    made.open()
    made.queue.close()


async def test_addresses_take_turns_and_owners_every_second_one(hall: Hall) -> None:
    tasks = [await hall.close()]
    for caller, names in ((Caller("many"), "abcde"), (Caller("few"), "xy")):
        tasks += [hall.ask(caller, name) for name in names]
    await asyncio.sleep(0)
    tasks += [hall.ask(Caller("owner"), f"owner {number}", "u_1") for number in range(2)]
    await until(lambda: hall.queue.waiting == 9)
    hall.open()
    await asyncio.gather(*tasks)
    assert hall.order == ["first", "owner 0", "a", "owner 1", "x", "b", "y", "c", "d", "e"]


async def test_one_address_cannot_fill_it(hall: Hall) -> None:
    first = await hall.close()
    attacker = Caller("attacker")
    asked = [hall.ask(attacker, f"{number}") for number in range(WAITING_PER_ADDRESS + 10)]
    await until(lambda: sum(task.done() for task in asked) == 10)
    refused = [task.exception() for task in asked if task.done()]
    assert all(isinstance(error, ParleyError) and error.code == "over_capacity" for error in refused)
    assert all(isinstance(error, ParleyError) and (error.retry_after_ms or 0) >= 1_000 for error in refused)
    honest = hall.ask(Caller("honest"), "honest")
    hall.open()
    await asyncio.gather(first, honest, *[task for task in asked if not task.done()])
    assert hall.order[:3] == ["first", "0", "honest"]


async def test_an_account_is_not_in_the_way_of_others(hall: Hall) -> None:
    """Who guesses with an account of their own, from wherever, waits for that account's turn."""
    first = await hall.close()
    hostile = [hall.ask(Caller(f"10.0.0.{number}"), f"{number}", "u_hostile") for number in range(20)]
    await until(lambda: sum(task.done() for task in hostile) == 20 - WAITING_PER_ACCOUNT)
    owner = hall.ask(Caller("home"), "owner", "u_1")
    await until(lambda: hall.queue.waiting == WAITING_PER_ACCOUNT + 1)
    hall.open()
    await asyncio.gather(first, owner, *hostile, return_exceptions=True)
    assert hall.order[:3] == ["first", "0", "owner"]


async def test_when_it_is_full_who_has_most_waiting_gives_way(hall: Hall) -> None:
    first = await hall.close()
    attackers = [Caller("one"), Caller("two")]
    asked = [hall.ask(attackers[number % 2], f"{number}") for number in range(WAITING_MAX)]
    await until(lambda: hall.queue.waiting == WAITING_MAX)
    honest = hall.ask(Caller("honest"), "honest")
    await until(lambda: any(task.done() for task in asked))
    assert hall.queue.waiting == WAITING_MAX
    hall.open()
    await asyncio.gather(first, honest, *asked, return_exceptions=True)
    assert hall.order[3] == "honest"
    assert sum(task.exception() is not None for task in asked) == 1


async def test_what_nobody_waits_for_is_not_hashed(hall: Hall) -> None:
    first = await hall.close()
    caller, other = Caller("gone"), Caller("cancelled")
    gone, cancelled, stays = hall.ask(caller, "gone"), hall.ask(other, "cancelled"), hall.ask(Caller("stays"), "stays")
    await until(lambda: hall.queue.waiting == 3)
    caller.left = True
    cancelled.cancel()
    hall.open()
    await asyncio.gather(first, gone, cancelled, stays, return_exceptions=True)
    assert hall.order == ["first", "stays"]
    assert isinstance(gone.exception(), ParleyError)


async def test_owners_do_not_wait_for_strangers() -> None:
    queue, door = HashQueue(), threading.Event()
    stranger = asyncio.create_task(queue.run(Caller("stranger"), lambda: door.wait(PATIENCE_S)))
    await until(lambda: queue._threads[-1].busy)
    another = asyncio.create_task(queue.run(Caller("another"), lambda: None))
    assert await queue.run(Caller("owner"), lambda: "hashed", "u_1") == "hashed"
    assert not another.done()
    door.set()
    await asyncio.gather(stranger, another)
    queue.close()


async def test_an_error_of_the_work_is_its_callers(hall: Hall) -> None:
    hall.open()

    def fail() -> None:
        raise ValueError("no such salt")

    with pytest.raises(ValueError, match="no such salt"):
        await hall.queue.run(Caller("one"), fail)
    await hall.ask(Caller("two"), "two")
    assert hall.order == ["two"]
