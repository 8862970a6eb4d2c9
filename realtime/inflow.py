"""What arrives on one WebSocket, and how much of it is worked off in a turn of the event loop.

Frames are read by aiohttp's own (compiled) reader, whose queue is replaced by a call, so that a frame is handled in the
turn in which it arrives. But one read brings up to 256 KiB, which may be forty thousand frames: the reader gets them in
pieces, and after a turn's share everybody else has a turn before the rest. Meanwhile, and while the connection has
overdrawn its pace (`realtime.pace`), nothing more is read from its socket, so that what waits here stays bounded.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketReader, WSMsgType

from realtime.pace import PACKET_BYTES, TURN_PACKETS

if TYPE_CHECKING:
    from realtime.websocket import WebSocketLink

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY
PIECE_BYTES = 1_024
TURN_BYTES = 16_384


class Inflow(WebSocketDataQueue):
    """The reader and its queue, which hands messages on at once. The base's own buffer is never made."""

    __slots__ = (
        "_dropped",
        "_ended",
        "_half_bytes",
        "_held",
        "_link",
        "_paused",
        "_reader",
        "_unread",
        "_waits",
        "packets",
    )
    # Without the base's initialiser the compiled reader finds zeros here; these are for the one in pure Python.
    _size = 0
    _limit = 0

    def __init__(self, link: WebSocketLink, message_bytes_max: int) -> None:
        self._link = link
        self._reader = WebSocketReader(self, message_bytes_max, False, True)
        self._unread = b""
        self._held = self._waits = self._paused = self._ended = self._dropped = False
        self.packets = 0  # in the piece that is being read
        self._half_bytes = 0  # about so many, of a message that is not complete, are with the reader

    # What the link calls

    def arrived(self, data: bytes) -> None:
        if self._unread or self._waits or self._held:
            self._unread += data
        elif len(data) > PIECE_BYTES:
            self._unread = data
            self._work()
        elif (rest_s := self._read(data)) > 0:
            self._rest(rest_s)

    def ended(self) -> bool:
        """The peer sends no more. Whether something is left to do, after which the connection is closed here."""
        self._ended = self._waits or bool(self._unread)
        return self._ended

    def drop(self) -> None:
        """The connection is lost, or nothing of it is wanted any more: also of what is being read just now."""
        self._unread = b""
        self._dropped = True

    def hold(self) -> None:
        """Nothing is worked off, and nothing read, until `release`."""
        self._held = True
        self._steer()

    def release(self) -> None:
        self._held = False
        if self._unread and not self._waits:
            self._go_on_later()
        self._steer()

    # What the reader calls

    def feed_data(self, data: Any, size: int = 0) -> None:
        self.packets += 1
        kind = data[0]
        if kind is TEXT or kind is BINARY:  # pings come between the frames of a message
            self._half_bytes = 0
        self._link.message_received(kind, data[1])

    def feed_eof(self) -> None:
        pass

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        self._link.malformed(exc)

    # Shares

    def _read(self, piece: bytes) -> float:
        """Seconds to rest after it."""
        self.packets = 0
        self._half_bytes += len(piece)
        self._reader.feed_data(piece)
        link = self._link
        link.piece_read()
        if self._half_bytes > PIECE_BYTES:
            link.listener.behind(self._half_bytes)
        return link.listener.spend(self.packets + len(piece) / PACKET_BYTES)

    def _work(self) -> None:
        """One turn's share of what is unread."""
        self._waits = False
        unread, self._unread = self._unread, b""
        at, packets, rest_s = 0, 0, 0.0
        while at < len(unread) and not self._held and not self._dropped:
            rest_s = self._read(unread[at : at + PIECE_BYTES])
            packets += self.packets
            at += PIECE_BYTES
            if rest_s or packets >= TURN_PACKETS or at >= TURN_BYTES:
                break
        if self._dropped:
            return
        self._unread = unread[at:]
        if rest_s:
            self._rest(rest_s)
            self._link.listener.behind(len(self._unread))
        elif self._unread and not self._held:
            self._go_on_later()
        self._steer()

    def _go_on_later(self) -> None:
        self._waits = True
        asyncio.get_running_loop().call_soon(self._work)

    def _rest(self, seconds: float) -> None:
        self._waits = True
        self._link.wheel.after(seconds, self._work)
        self._steer()

    def _steer(self) -> None:
        """Reads from the socket while there is nothing to catch up with."""
        transport = self._link.transport
        if transport is None or transport.is_closing():
            return
        if self._ended and not self._waits and not self._unread:
            transport.close()
        elif (self._held or self._waits or bool(self._unread)) is not self._paused:
            self._paused = not self._paused
            if self._paused:
                transport.pause_reading()
            else:
                transport.resume_reading()
