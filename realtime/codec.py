"""How packets are read: JSON for python-socketio's packet layer, events, and binary packets put together strictly."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from socketio import packet as sio_packet

from contract import reading
from contract.reading import TOO_DEEP, Unreadable, find_unreadable

# The name at the beginning of an event, as JSON.
_NAME = re.compile(r'\s*+\[\s*+("(?:[^"\\]|\\.)*+"|-?[0-9][0-9.]*+)')
_decode = msgspec.json.Decoder(list).decode
# No event has a longer name, so that of one without attachments yet is told from all by so much of it.
NAME_KEPT = 128


class Json:
    """The JSON module python-socketio is given: msgspec encodes the contract's structs as they are."""

    _encode = msgspec.json.Encoder().encode

    @classmethod
    def dumps(cls, value: Any, **_: Any) -> str:
        return cls._encode(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        """Raises ValueError for what is not JSON. What is, but cannot be used, is `Unreadable` in its place."""
        return _read(text if isinstance(text, str) else text.decode(), msgspec.json.decode)


class Packet(sio_packet.Packet):  # type: ignore[misc]
    """Placeholders must name an attachment there is: Python would take -1 for the last."""

    @classmethod
    def _reconstruct_binary_internal(cls, data: Any, attachments: list[bytes]) -> Any:
        if isinstance(data, dict) and data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise ValueError("a placeholder of no attachment")
        return super()._reconstruct_binary_internal(data, attachments)


def read_event(text: str) -> Any:
    """An event: its name, then its arguments, or `Unreadable` in their place. Raises ValueError for no JSON."""
    return _read(text, _decode)


def _read(text: str, decode: Callable[[str], Any]) -> Any:
    try:
        return decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        value = reading.read(text)
    except RecursionError:
        named = _NAME.match(text)
        fault = Unreadable("payload", TOO_DEEP)
        return [reading.read(named[1]), fault] if named is not None else fault
    if not isinstance(value, list) or not value:
        return find_unreadable(value) or value
    fault_within = next(filter(None, map(find_unreadable, value[1:])), None)
    return value if fault_within is None else [value[0], fault_within]


class Dropped:
    """Stands for a binary packet whose attachments are not taken: they are counted, and nothing of it is kept."""

    def __init__(self, packet: Packet, limit: int) -> None:
        self.packet_type = packet.packet_type
        self.namespace = packet.namespace
        self.id = packet.id
        reason = f"has {packet.attachment_count} binary attachments; up to {limit} are taken here"
        name = packet.data[0] if packet.data and isinstance(packet.data[0], str) else ""
        self.data = [name[:NAME_KEPT], Unreadable("payload", reason)]
        self._left: int = packet.attachment_count

    def add_attachment(self, attachment: bytes) -> bool:
        """Whether it was the last one."""
        self._left -= 1
        return self._left == 0
