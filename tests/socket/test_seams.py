"""What the engine relies on inside aiohttp, python-engineio and python-socketio: fails when an upgrade moves it."""

from __future__ import annotations

import inspect
from typing import Any

import engineio
import socketio
from aiohttp import web
from aiohttp._websocket import reader
from engineio import packet as eio_packet
from socketio import packet as sio_packet


def test_the_websocket_reader_hands_messages_to_its_queue() -> None:
    handed: list[tuple[object, object]] = []

    class Queue(reader.WebSocketDataQueue):
        _size = 0
        _limit = 0

        def __init__(self) -> None:
            pass

        def feed_data(self, data: Any, size: int = 0) -> None:
            handed.append((data[0], data[1]))

        def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
            handed.append(("error", type(exc).__name__))

    made = reader.WebSocketReader(Queue(), 100, False, True)
    made.feed_data(b"\x81\x02hi\x81\x03y")
    made.feed_data(b"ou\x91\x00")
    assert [str(data) for _, data in handed] == ["hi", "you", "WebSocketError"]


def test_aiohttp_lets_go_of_a_connection_it_believes_lost() -> None:
    source = inspect.getsource(web.RequestHandler.connection_lost)
    assert "self.force_close()" in source
    assert "_message_tail" in web.RequestHandler.__slots__
    # Nothing is written or closed once it has no transport.
    assert "if self.transport is not None" in inspect.getsource(web.RequestHandler.force_close)


def test_python_engineio_asks_what_a_session_answers() -> None:
    source = inspect.getsource(engineio.AsyncServer.handle_request)
    for used in ("self._handle_connect(", "handle_get_request(", ".upgraded", ".connected"):
        assert used in source, used
    assert list(inspect.signature(engineio.AsyncServer._handle_connect).parameters) == [
        "self", "environ", "transport", "jsonp_index",
    ]  # fmt: skip


def test_python_socketio_makes_the_engine_it_is_told_to() -> None:
    assert "self._engineio_server_class()" in inspect.getsource(socketio.base_server.BaseServer.__init__)


def test_packet_types_are_what_the_fast_way_assumes() -> None:
    assert (eio_packet.MESSAGE, eio_packet.PING, eio_packet.PONG, eio_packet.CLOSE, eio_packet.NOOP) == (4, 2, 3, 1, 6)
    assert (sio_packet.CONNECT, sio_packet.EVENT, sio_packet.ACK, sio_packet.CONNECT_ERROR) == (0, 2, 3, 4)
