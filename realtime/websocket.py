"""A WebSocket connection, from the HTTP upgrade to its end, without the HTTP server in between.

After the handshake the transport is taken away from aiohttp: its request, its handler task and its parser are released,
and this protocol speaks to the event loop directly, so that an idle connection holds no task. What arrives is read by
`realtime.inflow`. No permessage-deflate: it costs a connection 118 KB and a deflate per message, for frames of 200
bytes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from typing import Any, Protocol

from aiohttp import web
from aiohttp.http_websocket import WebSocketError, WSMsgType

from contract.closing import NORMAL, PROTOCOL_ERROR
from realtime.inflow import Inflow
from realtime.outbox import Flusher, Outbox
from realtime.packets import CLOSE, PONG, frame
from realtime.wheel import TimerWheel

log = logging.getLogger("parley.engine")

CLOSE_WAIT_S = 2.0
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Listener(Protocol):
    """Who is told of what arrives."""

    def frame_received(self, data: str | bytes) -> None: ...
    def transport_lost(self) -> None: ...
    def transport_failed(self) -> None: ...
    def too_slow(self) -> None: ...
    def spend(self, cost: float) -> float:
        """What arrived costs so much (`realtime.pace`). Seconds for which nothing more is read."""
        ...

    def behind(self, unread: int) -> None:
        """So many bytes are kept meanwhile."""
        ...


class Nobody:
    """Listens to a connection that has gone, or is about to."""

    def frame_received(self, data: str | bytes) -> None: ...
    def transport_lost(self) -> None: ...
    def transport_failed(self) -> None: ...
    def too_slow(self) -> None: ...
    def spend(self, cost: float) -> float:
        return 0.0

    def behind(self, unread: int) -> None: ...


NOBODY = Nobody()


class Switched(web.StreamResponse):
    """What a route returns once its connection is no longer HTTP's: nothing is left to write."""

    def __init__(self) -> None:
        super().__init__(status=101)

    @property
    def prepared(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


def accept_key(request: web.Request) -> bytes | None:
    """Sec-WebSocket-Accept (RFC 6455, section 4.2.2), or None if this is not an upgrade that we can accept."""
    headers = request.headers
    if headers.get("Upgrade", "").lower() != "websocket" or "upgrade" not in headers.get("Connection", "").lower():
        return None
    key = headers.get("Sec-WebSocket-Key", "").encode()
    try:
        if headers.get("Sec-WebSocket-Version") != "13" or len(base64.b64decode(key, validate=True)) != 16:
            return None
    except binascii.Error:
        return None
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def take_over(request: web.Request, accept: bytes, link: WebSocketLink) -> None:
    """Answers the upgrade and gives the transport to `link`. aiohttp is told that it lost the connection.

    A client that has gone already is lost to the link at once.
    """
    protocol = request.protocol
    transport, tail = protocol.transport, protocol._message_tail
    if transport is None:
        link.connection_lost(None)
        return
    protocol.transport = None
    protocol.connection_lost(None)
    transport.set_protocol(link)
    transport.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    link.transport = transport
    transport.resume_reading()
    if tail:
        link.data_received(tail)


class WebSocketLink(Outbox, asyncio.Protocol):
    """The protocol of one WebSocket. `listener` is replaced when the connection turns out to be an upgrade."""

    __slots__ = ("_closing", "_inflow", "_ping", "listener", "transport", "wheel")

    transport: asyncio.Transport | None

    def __init__(
        self, listener: Listener, flusher: Flusher, wheel: TimerWheel, message_bytes_max: int, offsets: bool = False
    ) -> None:
        super().__init__(flusher, offsets)
        self.listener = listener
        self.wheel = wheel
        self.transport = None
        self._closing = False
        self._inflow: Inflow | None = Inflow(self, message_bytes_max)
        self._ping: bytes | None = None

    # What the event loop calls

    def data_received(self, data: bytes) -> None:
        if self._inflow is not None:
            self._inflow.arrived(data)

    def eof_received(self) -> bool:
        return self._inflow is not None and self._inflow.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.transport = None
        if self._inflow is not None:
            self._inflow.drop()
            self._inflow = None
        self.discard()
        listener, self.listener = self.listener, NOBODY  # a cycle less for the garbage collector
        listener.transport_lost()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.unblock()

    # What the inflow calls

    def message_received(self, kind: WSMsgType, data: Any) -> None:
        if kind is WSMsgType.CLOSE:
            self._close_received(data)
        elif self._closing:
            return  # sent after what closed it
        elif kind is WSMsgType.PING:
            self._ping = data
        elif kind is not WSMsgType.PONG:
            self.listener.frame_received(data)

    def piece_read(self) -> None:
        """Of several pings only the last is answered (RFC 6455, section 5.5.3); of a peer that does not read, none."""
        if self._ping is not None:
            if not self.blocked and not self._closing:
                self.write(frame(PONG, self._ping))
            self._ping = None

    def malformed(self, error: BaseException) -> None:
        code = error.code if isinstance(error, WebSocketError) else PROTOCOL_ERROR
        log.info("closing a WebSocket: %s", error)
        if not self._closing:
            self.close(int(code))
            self.listener.transport_failed()

    def _close_received(self, code: int) -> None:
        if self.transport is not None:
            if not self._closing:
                self._closing = True
                self._write_close(code if 1000 <= code < 5000 else NORMAL)
                self.wheel.after(CLOSE_WAIT_S, self.abort)  # closing waits for a peer that perhaps does not read
            self.transport.close()

    # What the session calls

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def pause_reading(self) -> None:
        if self._inflow is not None:
            self._inflow.hold()

    def resume_reading(self) -> None:
        if self._inflow is not None:
            self._inflow.release()

    def overflow(self) -> None:
        self.listener.too_slow()

    def close(self, code: int = NORMAL, at_once: bool = False) -> None:
        """Writes what waits and a close frame; the peer has CLOSE_WAIT_S to answer it before the transport goes.

        `at_once`: it is not waited for.
        """
        if self._closing or self.transport is None:
            return
        self._closing = True
        if self.packets:
            self.write(self.joined(self.packets))
            self.discard()
        self._write_close(code)
        if at_once and self._inflow is not None:
            self._inflow.drop()
            self._inflow = None
            self.transport.close()
        self.resume_reading()  # or the answer would not be heard
        self.wheel.after(CLOSE_WAIT_S, self.abort)

    def _write_close(self, code: int) -> None:
        self.write(frame(CLOSE, code.to_bytes(2, "big")))

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
