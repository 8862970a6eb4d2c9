"""What a process publishes, as others read it."""

from __future__ import annotations

from typing import NamedTuple


class Publication(NamedTuple):
    """A numbered message; `offset` is its place in its stream, `number` its place among all that its process sent."""

    topic: bytes
    process: str
    offset: int
    number: int
    copies: int
    names: bytes
    body: bytes

    @classmethod
    def read(cls, message: bytes) -> Publication:
        head, _, body = message.partition(b"\n")
        topic, process, offset, number, copies, names = head.split(b" ", 5)
        return cls(topic, process.decode(), int(offset), int(number), int(copies), names, body)
