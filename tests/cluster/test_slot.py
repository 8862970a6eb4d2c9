"""A slot of a formation when the system refuses it a process: it says so, tries again, and holds up nobody."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from ops import slot as slots
from ops.child import Kind
from ops.slot import Slot
from tests.support import PATIENCE_S, until

SERVE = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('ready', flush=True)"
KIND = Kind(("-c", f"{SERVE}; signal.pause()"), b"ready")


class System:
    """Starts processes, but for as many as it is told to refuse."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refusals = 0
        self._start = asyncio.create_subprocess_exec
        monkeypatch.setattr(asyncio, "create_subprocess_exec", self.start)

    async def start(self, *args: Any, **options: Any) -> asyncio.subprocess.Process:
        if self.refusals:
            self.refusals -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await self._start(*args, **options)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setattr(slots, "PAUSE_FIRST_S", 0.01)
    return System(monkeypatch)


def made(sockets: tuple[int, ...] = ()) -> Slot:
    slot = Slot("w1", KIND, dict(os.environ), sockets, 10.0, lambda: None)
    slot.start()
    return slot


async def ended(slot: Slot) -> None:
    """By a kill that nobody expects."""
    (child,) = slot.serving
    child._process.kill()
    await until(lambda: child not in slot.serving)


async def test_it_tries_again_until_there_is_one(system: System, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    slot = made()
    await slot.ready.wait()
    system.refusals = 3
    await ended(slot)
    await until(lambda: bool(slot.serving))
    assert await slot.stop()
    said = capfdbinary.readouterr().out
    assert said.count(b"w1 has no process: [Errno 11] Resource temporarily unavailable") == 3
    assert said.count(b"w1 could not be started; it is started again in") == 3


async def test_the_first_is_a_failure_of_the_start(system: System) -> None:
    system.refusals = 1
    slot = made()
    await slot.failed.wait()
    assert not slot.serving
    assert await slot.stop()


async def test_a_worker_that_is_replaced(system: System) -> None:
    slot = made()
    await slot.ready.wait()
    system.refusals = 2
    assert await slot.replace()
    assert len(slot.serving) == 1
    assert await slot.stop()


async def test_a_hand_over_ends_and_the_old_one_stays(system: System) -> None:
    read, write = os.pipe()  # stands for a listening socket: it is only inherited here
    slot = made((read,))
    await slot.ready.wait()
    old = slot.serving
    system.refusals = 1
    assert not await slot.replace()
    assert slot.serving == old
    assert await slot.replace()
    assert slot.serving != old
    assert await slot.stop()
    os.close(read)
    os.close(write)


async def test_told_to_stop_while_there_is_none(system: System) -> None:
    slot = made()
    await slot.ready.wait()
    system.refusals = 1_000_000
    await ended(slot)
    await asyncio.wait_for(slot.stop(), PATIENCE_S)
