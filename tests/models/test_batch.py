"""Group commit: what comes during a write goes together with the next, and everyone gets the outcome of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from storage import batch
from storage.batch import Batches
from tests.support import PATIENCE_S


class Disk:
    """Writes strings when it is let; `broken` are refused, and a batch with `fatal` in it fails as a whole."""

    def __init__(self, broken: Sequence[str] = (), fatal: str = "fatal") -> None:
        self.broken, self.fatal = broken, fatal
        self.batches: list[list[str]] = []
        self.writing = 0
        self.let = asyncio.Event()
        self.let.set()

    async def write(self, items: Sequence[str]) -> list[str | Exception]:
        self.batches.append(list(items))
        self.writing += 1
        assert self.writing == 1, "two writes at once"
        await self.let.wait()
        self.writing -= 1
        if self.fatal in items:
            raise OSError("the disk is gone")
        return [KeyError(item) if item in self.broken else item.upper() for item in items]


async def queue(batches: Batches[str, str], *items: str) -> list[asyncio.Task[str]]:
    """Submitted in this order, and the writer has had a chance to begin."""
    tasks = [asyncio.create_task(batches.submit(item)) for item in items]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_a_lone_write_goes_at_once_and_alone() -> None:
    disk = Disk()
    batches = Batches(disk.write)
    for name in ("a", "b", "c"):
        assert await asyncio.wait_for(batches.submit(name), PATIENCE_S) == name.upper()
    assert disk.batches == [["a"], ["b"], ["c"]]


async def test_what_comes_during_a_write_goes_together_in_its_order() -> None:
    disk = Disk()
    batches = Batches(disk.write)
    disk.let.clear()
    first = await queue(batches, "a")
    assert disk.batches == [["a"]]
    others = await queue(batches, "b", "c", "d")
    assert disk.batches == [["a"]]
    assert not any(task.done() for task in first + others)
    disk.let.set()
    assert await asyncio.gather(*first, *others) == ["A", "B", "C", "D"]
    assert disk.batches == [["a"], ["b", "c", "d"]]


async def test_an_exception_as_outcome_hits_its_caller_alone() -> None:
    disk = Disk(broken=["b"])
    first, refused, last = await queue(Batches(disk.write), "a", "b", "c")
    with pytest.raises(KeyError, match="b"):
        await refused
    assert [await first, await last] == ["A", "C"]


async def test_what_the_write_raises_all_of_that_batch_get_and_the_next_batch_goes_on() -> None:
    disk = Disk()
    batches = Batches(disk.write)
    disk.let.clear()
    first = await queue(batches, "a")
    second = await queue(batches, "b", "fatal")
    disk.let.set()
    outcomes = await asyncio.gather(*first, *second, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [str, OSError, OSError]
    assert await asyncio.wait_for(batches.submit("c"), PATIENCE_S) == "C"


async def test_a_caller_that_gives_up_takes_nothing_from_the_others() -> None:
    disk = Disk(broken=["gone and refused"])
    batches = Batches(disk.write)
    disk.let.clear()
    first, gone, other = await queue(batches, "a", "gone", "gone and refused")
    waiting, last = await queue(batches, "never begun", "z")
    for task in (gone, other, waiting):
        task.cancel()
    await asyncio.sleep(0)
    disk.let.set()
    assert [await asyncio.wait_for(task, PATIENCE_S) for task in (first, last)] == ["A", "Z"]
    assert [item for written in disk.batches for item in written] == [
        "a",
        "gone",
        "gone and refused",
        "never begun",
        "z",
    ]
    with pytest.raises(asyncio.CancelledError):
        await gone


@hypothesis_settings(max_examples=60, deadline=None, print_blob=True)
@given(st.lists(st.integers(1, 14), min_size=1, max_size=40))
def test_a_batch_weighs_at_most_its_limit_or_is_one_item(weights: list[int]) -> None:
    async def check() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batch, "BATCH_MAX", 10)
            disk = Disk()
            batches = Batches(disk.write, size=len)
            items = [chr(97 + number % 26) * weight for number, weight in enumerate(weights)]
            disk.let.clear()
            tasks = await queue(batches, *items)
            disk.let.set()
            assert await asyncio.gather(*tasks) == [item.upper() for item in items]
            note(str(disk.batches))
            assert [item for written in disk.batches for item in written] == items
            sizes = [sum(len(item) for item in written) for written in disk.batches]
            for written, size in zip(disk.batches, sizes, strict=True):
                assert size <= 10 or len(written) == 1
            # None is smaller than it has to be. The first was taken before the others came.
            for size, after in zip(sizes[1:], disk.batches[2:], strict=False):
                assert size + len(after[0]) > 10

    asyncio.run(check())
