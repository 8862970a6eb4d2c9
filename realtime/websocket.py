"""A WebSocket connection, from the HTTP upgrade to its end, without the HTTP server in between.

After the handshake the transport is taken away from aiohttp: its request, its handler task and its parser are released,
and this protocol speaks to the event loop directly. Frames are read by aiohttp's own (compiled) WebSocketReader, whose
queue is replaced by a call, so that a frame is handled in the turn in which it arrives and an idle connection holds no
task. No permessage-deflate: it costs a connection 118 KB and a deflate per message, for frames of 200 bytes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from typing import Any, Protocol

from aiohttp import web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketError, WebSocketReader, WSMsgType

from contract.closing import NORMAL, PROTOCOL_ERROR
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


class Nobody:
    """Listens to a connection that has gone, or is about to."""

    def frame_received(self, data: str | bytes) -> None: ...
    def transport_lost(self) -> None: ...
    def transport_failed(self) -> None: ...
    def too_slow(self) -> None: ...


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


class _Inflow(WebSocketDataQueue):
    """Where the reader puts messages: hands them on at once. The base's own buffer is never made."""

    __slots__ = ("link",)
    # Without the base's initialiser the compiled reader finds zeros here; these are for the one in pure Python.
    _size = 0
    _limit = 0

    def __init__(self, link: WebSocketLink) -> None:
        self.link = link

    def feed_data(self, data: Any, size: int = 0) -> None:
        self.link.message_received(data[0], data[1])

    def feed_eof(self) -> None:
        pass

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        self.link.malformed(exc)


class WebSocketLink(Outbox, asyncio.Protocol):
    """The protocol of one WebSocket. `listener` is replaced when the connection turns out to be an upgrade."""

    __slots__ = ("_closing", "_reader", "listener", "transport", "wheel")

    transport: asyncio.Transport | None

    def __init__(
        self, listener: Listener, flusher: Flusher, wheel: TimerWheel, message_bytes_max: int, offsets: bool = False
    ) -> None:
        super().__init__(flusher, offsets)
        self.listener = listener
        self.wheel = wheel
        self.transport = None
        self._closing = False
        self._reader: WebSocketReader | None = WebSocketReader(_Inflow(self), message_bytes_max, False, True)

    # What the event loop calls

    def data_received(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.feed_data(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.transport = None
        self._reader = None
        self.discard()
        listener, self.listener = self.listener, NOBODY  # a cycle less for the garbage collector
        listener.transport_lost()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.unblock()

    # What the reader calls

    def message_received(self, kind: WSMsgType, data: Any) -> None:
        if kind is WSMsgType.CLOSE:
            self._close_received(data)
        elif self._closing:
            return  # sent after what closed it
        elif kind is WSMsgType.PING:
            if not self.blocked:  # a peer that does not read needs no pongs
                self.write(frame(PONG, data))
        elif kind is not WSMsgType.PONG:
            self.listener.frame_received(data)

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
                self.wheel.after(CLOSE_WAIT_S, self._abort)  # closing waits for a peer that perhaps does not read
            self.transport.close()

    # What the session calls

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def pause_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def overflow(self) -> None:
        self.listener.too_slow()

    def close(self, code: int = NORMAL) -> None:
        """Writes what waits and a close frame; the peer has CLOSE_WAIT_S to answer it before the transport goes."""
        if self._closing or self.transport is None:
            return
        self._closing = True
        if self.packets:
            self.write(self.joined(self.packets))
            self.discard()
        self._write_close(code)
        self.resume_reading()  # or the answer would not be heard
        self.wheel.after(CLOSE_WAIT_S, self._abort)

    def _write_close(self, code: int) -> None:
        self.write(frame(CLOSE, code.to_bytes(2, "big")))

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
