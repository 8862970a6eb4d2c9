"""What goes out, encoded once: a Socket.IO packet down to the WebSocket frames that carry it.

Frames from a server are not masked, so the bytes are the same for every recipient: a broadcast to ten thousand
connections is encoded here once, whatever the number. Payloads are structs of the contract, which msgspec writes
straight to bytes; anything else, binary attachments included, goes the slower way through python-socketio's packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from engineio import packet as eio_packet
from socketio import packet as sio_packet

_encode = msgspec.json.Encoder().encode

TEXT, BINARY, CLOSE, PONG = 0x81, 0x82, 0x88, 0x8A


def frame(kind: int, payload: bytes) -> bytes:
    """One WebSocket frame, final and unmasked (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((kind, size)) + payload
    if size < 65_536:
        return bytes((kind, 126)) + size.to_bytes(2, "big") + payload
    return bytes((kind, 127)) + size.to_bytes(8, "big") + payload


class Outgoing:
    """One Engine.IO packet that carries text, and the attachments that follow it.

    `text` begins with the Engine.IO type (`4` for a message). `frame` is all of it as WebSocket frames. An event with
    an `offset` says it behind its payload to clients that keep it.
    """

    __slots__ = ("_frame_with_offset", "attachments", "frame", "offset", "text")

    def __init__(self, text: bytes, attachments: Sequence[bytes] = ()) -> None:
        self.text = text
        self.attachments = attachments
        self.offset = ""
        self._frame_with_offset = b""
        self.frame = frame(TEXT, text)
        for attachment in attachments:
            self.frame += frame(BINARY, attachment)

    @classmethod
    def of_bytes(cls, data: bytes) -> Outgoing:
        """A binary message by itself, which has no type in front of it."""
        made = cls(b"", (data,))
        made.frame = frame(BINARY, data)
        return made

    @property
    def text_with_offset(self) -> bytes:
        """`42["event",payload]` becomes `42["event",payload,"offset"]`."""
        return b'%s,"%s"]' % (self.text[:-1], self.offset.encode()) if self.offset else self.text

    @property
    def frame_with_offset(self) -> bytes:
        if not self._frame_with_offset:
            self._frame_with_offset = frame(TEXT, self.text_with_offset) if self.offset else self.frame
        return self._frame_with_offset

    def for_polling(self, with_offset: bool) -> list[Any]:
        """python-engineio's packets, which write themselves into the body of a poll."""
        data = self.text_with_offset if with_offset else self.text
        text = [eio_packet.Packet(int(data[:1]), data[1:].decode())] if data else []
        return text + [eio_packet.Packet(eio_packet.MESSAGE, attachment) for attachment in self.attachments]


PING = Outgoing(b"2")
NOOP = Outgoing(b"6")
CLOSING = Outgoing(b"1")


def _prefix(kind: int, namespace: str) -> bytes:
    where = "" if namespace == "/" else f"{namespace},"
    return f"{eio_packet.MESSAGE}{kind}{where}".encode()


_events: dict[tuple[str, str], bytes] = {}
_acks: dict[str, bytes] = {}


def event(namespace: str, name: str, payload: Any) -> Outgoing:
    if not isinstance(payload, msgspec.Struct):
        arguments = list(payload) if isinstance(payload, tuple) else [payload]
        return _any(sio_packet.EVENT, namespace, [name, *arguments])
    head = _events.get((namespace, name))
    if head is None:  # as many as the contract declares
        head = _events[namespace, name] = _prefix(sio_packet.EVENT, namespace) + b"[" + _encode(name) + b","
    return Outgoing(head + _encode(payload) + b"]")


def ack(namespace: str, number: int, reply: Any) -> Outgoing:
    """`reply`: a struct, or a list of whatever the handler answers."""
    if not isinstance(reply, msgspec.Struct):
        return _any(sio_packet.ACK, namespace, reply, number)
    head = _acks.get(namespace)
    if head is None:
        head = _acks[namespace] = _prefix(sio_packet.ACK, namespace)
    return Outgoing(b"%s%d[%s]" % (head, number, _encode(reply)))


def connected(namespace: str, sid: str, pid: str | None) -> Outgoing:
    """`pid`: by which the client may ask to go on after a loss, see `realtime.recovery`."""
    ids = {"sid": sid} if pid is None else {"sid": sid, "pid": pid}
    return Outgoing(_prefix(sio_packet.CONNECT, namespace) + _encode(ids))


def refused(namespace: str, reason: Any) -> Outgoing:
    return Outgoing(_prefix(sio_packet.CONNECT_ERROR, namespace) + _encode(reason))


def opening(handshake: dict[str, Any]) -> Outgoing:
    return Outgoing(b"%d%s" % (eio_packet.OPEN, _encode(handshake)))


def _any(kind: int, namespace: str, data: list[Any], number: int | None = None) -> Outgoing:
    encoded = sio_packet.Packet(kind, data=data, namespace=namespace, id=number).encode()
    text, *attachments = encoded if isinstance(encoded, list) else [encoded]
    return Outgoing(f"{eio_packet.MESSAGE}{text}".encode(), attachments)
