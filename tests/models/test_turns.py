"""Requests of a flood begin a few in each turn of the loop, by address; refusals of an address come ever later."""

from __future__ import annotations

import asyncio
import time

import pytest

from ops.turns import BUSY_BURST, PER_TURN, REFUSALS_BURST, REFUSALS_PER_S, Refusals, Turns
from tests.clock import Clock


async def test_a_few_begin_in_each_turn_and_addresses_take_turns() -> None:
    turns, begun = Turns(), []
    turn_of_the_loop = 0

    async def request(name: str, address: str) -> None:
        await turns.take(address)
        begun.append((turn_of_the_loop, name))

    tasks = [asyncio.create_task(request(f"flood {number}", "10.0.0.1")) for number in range(100)]
    tasks += [asyncio.create_task(request("honest", "10.0.0.2"))]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn_of_the_loop += 1
    per_turn = [sum(turn == number for turn, _ in begun) for number in range(turn_of_the_loop)]
    assert max(per_turn) <= PER_TURN
    assert len(begun) == 101
    assert [name for _, name in begun].index("honest") <= 2 * PER_TURN


async def test_who_is_alone_does_not_wait() -> None:
    turns = Turns()
    for _ in range(10):
        for _ in range(PER_TURN):
            waiting = turns.take("10.0.0.1")
            with pytest.raises(StopIteration):
                waiting.send(None)
        await asyncio.sleep(0)


async def test_who_is_cancelled_takes_no_turn() -> None:
    turns = Turns()
    tasks = [asyncio.create_task(turns.take("10.0.0.1")) for _ in range(3 * PER_TURN)]
    await asyncio.sleep(0)
    for task in tasks[PER_TURN:-1]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not tasks[-1].cancelled()
    assert not turns._waiting


def test_refusals_come_ever_later_and_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: 5.0 + clock.ahead_s)  # soon after the machine's start
    refusals = Refusals(1)
    assert [refusals.note("10.0.0.1") for _ in range(REFUSALS_BURST)] == [0.0] * REFUSALS_BURST
    assert refusals.note("10.0.0.1") == pytest.approx(1 / REFUSALS_PER_S)
    assert refusals.note("10.0.0.1") == pytest.approx(2 / REFUSALS_PER_S)
    assert refusals.wait_s("10.0.0.1") == pytest.approx(2 / REFUSALS_PER_S)
    assert refusals.note("10.0.0.2") == refusals.wait_s("10.0.0.2") == refusals.wait_s("10.0.0.3") == 0.0
    clock.move(1_000)
    assert refusals.note("10.0.0.1") == 0.0


def test_while_much_is_refused_everywhere_few_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: 5.0 + clock.ahead_s)
    refusals = Refusals(1)
    for number in range(BUSY_BURST):
        assert refusals.note("10.0.0.1") == 0.0, number
    for number in range(1_000):
        refusals.note(f"10.1.{number // 250}.{number % 250}")
    assert refusals.wait_s("10.1.0.0") == 0.0
    assert refusals.note("10.0.0.1") == pytest.approx(1 / REFUSALS_PER_S)
    clock.move(120)
    assert refusals.wait_s("10.0.0.1") == refusals.note("10.0.0.1") == 0.0


@pytest.mark.parametrize(("scale", "address"), [(0, "10.0.0.1"), (1, "")])
def test_without_limits_and_for_this_machine_they_come_at_once(scale: float, address: str) -> None:
    refusals = Refusals(scale)
    assert {refusals.note(address) for _ in range(10 * REFUSALS_BURST)} == {0.0}
