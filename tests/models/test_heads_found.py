"""Which of the messages beyond a stored head are strange: those that this process neither wrote nor knew of."""

from __future__ import annotations

import pytest

from models.conversations import heads as heads_module
from models.conversations.heads import Heads
from tests.models.test_heads import World


async def test_ones_own_messages_are_not_strange_when_the_head_moved_meanwhile() -> None:
    """Read, then more is written and stored, then brought up: all of it is ours, though nothing is pending."""
    world = World()
    heads = Heads(world, alone=True)
    await heads.bring_up(world.read())
    document = world.read()[0]
    for name in ("ada", "ben"):
        heads.note(world.append("c_1", name))
    world.move("c_1", world.messages["c_1"])
    heads.settle("c_1", 2)
    heads.note(world.append("c_1", "ada"))
    assert await heads.bring_up([document]) == {}
    world.check(document, 3)


@pytest.mark.parametrize("count", [4, 5, 6, 10, 12])
async def test_nothing_is_too_far_beyond_the_head(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(heads_module, "TAIL_MAX", 5)
    world = World()
    for _ in range(count):
        world.append("c_1", "ada")
    document = world.read()[0]
    strange = await Heads(world, alone=False).bring_up([document])
    assert [message["seq"] for message in strange["c_1"]] == list(range(1, count + 1))
    world.check(document, count)


def test_what_the_head_has_not_come_to_stays_pending() -> None:
    world = World()
    heads = Heads(world, alone=True)
    for _ in range(4):
        heads.note(world.append("c_1", "ada"))
    for up_to, left in ((2, [3, 4]), (1, [3, 4]), (3, [4]), (4, [])):
        heads.settle("c_1", up_to)
        assert [message["seq"] for message in heads.pending.get("c_1", [])] == left
    assert heads.pending == {}
