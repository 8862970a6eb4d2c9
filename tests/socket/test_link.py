"""A WebSocket whose peer does not read: told, not waited for; and what it may go on asking."""

from __future__ import annotations

from typing import Any

import pytest

from contract.closing import TOO_SLOW
from realtime import websocket
from realtime.outbox import Flusher
from realtime.packets import CLOSING, PONG, Outgoing, frame
from realtime.websocket import WebSocketLink
from realtime.wheel import TimerWheel
from tests.socket.test_outbox import flushed, frames, made
from tests.support import until


class Transport:
    """A peer that has stopped reading. It stands for an asyncio.Transport."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = True
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    close = abort


class Closes:
    """A session: ends what is too slow."""

    link: WebSocketLink

    def __init__(self) -> None:
        self.slow = 0
        self.heard: list[str | bytes] = []

    def frame_received(self, data: str | bytes) -> None:
        self.heard.append(data)

    def transport_lost(self) -> None: ...
    def transport_failed(self) -> None: ...

    def behind(self, unread: int) -> None: ...

    def spend(self, cost: float) -> float:
        return 0.0

    def too_slow(self) -> None:
        self.slow += 1
        self.link.send(CLOSING)
        self.link.close(TOO_SLOW)


@pytest.fixture
def slow() -> tuple[WebSocketLink, Closes, Any]:
    listener, transport = Closes(), Transport()
    link: Any = WebSocketLink(listener, Flusher(), TimerWheel(0.01), 1_000)
    listener.link = link
    link.transport = transport
    link.pause_writing()
    return link, listener, transport


async def test_a_slow_peer_is_told_why_and_not_waited_for(
    slow: tuple[WebSocketLink, Closes, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, listener, transport = slow
    monkeypatch.setattr(websocket, "CLOSE_WAIT_S", 0.05)
    link.pause_reading()
    sent = 0
    while not listener.slow:
        sent += 1
        assert sent < 20
        link.send(made(sent, 65_536))
        await flushed(link)
    assert transport.written == [CLOSING.frame, b"\x88\x02" + TOO_SLOW.to_bytes(2, "big")]
    assert (TOO_SLOW, transport.reading) == (1013, True), "it listens for the answer"
    link.resume_writing()
    await flushed(link)
    assert len(transport.written) == 2, "nothing follows a close frame"
    await until(lambda: transport.aborted)
    link.connection_lost(None)


async def test_what_waits_is_written_when_the_peer_reads_again(slow: tuple[WebSocketLink, Closes, Any]) -> None:
    link, listener, transport = slow
    for number in range(5):
        link.send(made(number))
        link.send_latest("typing", Outgoing(b"%d" % number))
        await flushed(link)
    assert transport.written == []
    link.resume_writing()
    await flushed(link)
    assert transport.written == [frames(*(made(number) for number in range(5)), Outgoing(b"4"))]
    assert listener.slow == 0


async def test_pings_of_a_peer_that_does_not_read_are_not_answered(slow: tuple[WebSocketLink, Closes, Any]) -> None:
    link, _, transport = slow
    ping = b"\x89\x84\0\0\0\0ping"
    link.data_received(ping)
    assert transport.written == []
    link.resume_writing()
    link.data_received(ping)
    assert transport.written == [frame(PONG, b"ping")]


async def test_what_comes_after_the_close_is_not_heard(slow: tuple[WebSocketLink, Closes, Any]) -> None:
    link, listener, transport = slow
    link.data_received(b"\x81\x82\0\0\0\x004a")
    link.close(TOO_SLOW)
    link.data_received(b"\x81\x82\0\0\0\x004b")
    assert listener.heard == ["4a"]
    link.data_received(b"\x88\x82\0\0\0\0\x03\xf5")
    assert transport.aborted, "the answer to the close frame has come"
    assert len(transport.written) == 1
    link.wheel.stop()
