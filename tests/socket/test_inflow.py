"""What arrives faster than it can be worked off: a share each turn, a pace for all of it, and nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from realtime.inflow import PIECE_BYTES, TURN_BYTES
from realtime.outbox import Flusher
from realtime.pace import TURN_PACKETS
from realtime.packets import PONG, frame
from realtime.websocket import WebSocketLink
from realtime.wheel import TimerWheel
from tests.socket.test_link import Transport
from tests.support import until

PING = b"\x89\x80\0\0\0\0"
LARGEST_TURN = TURN_PACKETS + PIECE_BYTES // len(PING)


def text(data: bytes) -> bytes:
    """A masked frame, as clients send it."""
    size = len(data)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + data


class Counts:
    """A session that hears, and rests as long as `rest` says."""

    def __init__(self) -> None:
        self.heard: list[str | bytes] = []
        self.spent: list[float] = []
        self.rest: Callable[[], float] = lambda: 0.0

    def frame_received(self, data: str | bytes) -> None:
        self.heard.append(data)

    def behind(self, unread: int) -> None: ...

    def spend(self, cost: float) -> float:
        self.spent.append(cost)
        return self.rest()

    def transport_lost(self) -> None: ...
    def transport_failed(self) -> None: ...
    def too_slow(self) -> None: ...


@pytest.fixture
async def link() -> Any:
    made: Any = WebSocketLink(Counts(), Flusher(), TimerWheel(0.01), 1_000_000)
    made.transport = Transport()
    yield made
    made.wheel.stop()


async def turns(link: Any, done: Callable[[], bool]) -> list[int]:
    """How many messages were heard in each turn until it is done."""
    each = [len(link.listener.heard)]
    while not done():
        await asyncio.sleep(0)
        each.append(len(link.listener.heard) - sum(each))
    return each


async def test_a_turn_is_a_share_and_the_rest_comes_in_order(link: Any) -> None:
    messages = [f"4{number}" for number in range(5_000)]
    link.data_received(b"".join(text(one.encode()) for one in messages))
    assert not link.transport.reading, "nothing more is read while there is something to catch up with"
    each = await turns(link, lambda: len(link.listener.heard) == len(messages))
    assert link.listener.heard == messages
    assert max(each) <= LARGEST_TURN
    await until(lambda: link.transport.reading)


async def test_pings_are_answered_once_a_piece(link: Any) -> None:
    link.data_received(PING * 40_000)
    await until(lambda: link.transport.reading)
    assert len(link.transport.written) <= 40_000 * len(PING) / PIECE_BYTES + 1
    assert set(link.transport.written) == {frame(PONG, b"")}
    assert sum(link.listener.spent) >= 40_000, "each of them is paid for"


async def test_a_message_of_many_pieces(link: Any) -> None:
    long = "4" + "x" * 60_000
    wire = text(long.encode()) + text(b"4after")
    link.data_received(wire[:50])
    link.data_received(wire[50:])
    assert link.listener.heard == []
    await until(lambda: len(link.listener.heard) == 2)
    assert link.listener.heard == [long, "4after"]
    assert len(link.listener.spent) > len(wire) / TURN_BYTES


async def test_whoever_has_overdrawn_is_not_read_from(link: Any) -> None:
    link.listener.rest = lambda: 0.05
    link.data_received(text(b"4a"))
    assert (link.listener.heard, link.transport.reading) == (["4a"], False)
    link.data_received(text(b"4b"))
    assert link.listener.heard == ["4a"]
    link.listener.rest = lambda: 0.0
    await until(lambda: link.transport.reading)
    assert link.listener.heard == ["4a", "4b"]


async def test_what_came_before_the_end_is_worked_off(link: Any) -> None:
    link.data_received(text(b"4x") * 2_000)
    assert link.eof_received(), "the connection stays until then"
    await until(lambda: link.transport.aborted)
    assert len(link.listener.heard) == 2_000


async def test_an_end_with_nothing_before_it(link: Any) -> None:
    link.data_received(text(b"4x"))
    assert not link.eof_received()


async def test_a_full_inbox_stops_in_the_middle_of_a_read(link: Any) -> None:
    listener = link.listener

    def heard(data: str | bytes) -> None:
        listener.heard.append(data)
        if len(listener.heard) == 10:
            link.pause_reading()

    listener.frame_received = heard
    link.data_received(text(b"4" + b"x" * 100) * 200)
    few = len(listener.heard)
    assert few < 10 + PIECE_BYTES / 100
    for _ in range(20):
        await asyncio.sleep(0)
    assert (len(listener.heard), link.transport.reading) == (few, False)
    link.resume_reading()
    await until(lambda: len(listener.heard) == 200)
    assert link.transport.reading


async def test_a_connection_that_is_lost_is_not_worked_for(link: Any) -> None:
    link.data_received(text(b"4x") * 5_000)
    few = len(link.listener.heard)
    listener = link.listener
    link.connection_lost(None)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(listener.heard) == few
