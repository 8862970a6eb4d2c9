"""What this process delivered lately, numbered, so that a connection that returns gets exactly what it missed.

One log for all rooms, since a delivery should cost an append and no more. Who returns is served from an index by room,
which is made, from what came since the last time, only when someone returns. The log is bounded by age and by bytes;
whose place is not in it any more gets nothing rather than a part.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Sequence
from itertools import islice

from realtime.packets import Outgoing

# Away for two minutes, of which the server may have noticed nothing for a ping interval and its timeout.
RETURN_S = 120.0
KEPT_S = RETURN_S + 45.0
BYTES_MAX = 67_108_864
OBJECTS_BYTES = 700

Source = tuple[str, int]  # (publishing process, its number there): the same wherever it was delivered


class Delivered:
    """One delivery: what went to whom."""

    __slots__ = ("at", "namespace", "number", "packet", "rooms", "skip", "source")

    def __init__(
        self, number: int, at: float, namespace: str, rooms: Sequence[str], skip: str | None, packet: Outgoing,
        source: Source | None,
    ) -> None:  # fmt: skip
        self.number = number
        self.at = at
        self.namespace = namespace
        self.rooms = rooms
        self.skip = skip
        self.packet = packet
        self.source = source


class History:
    """`number` is that of the newest delivery; they rise by one. `tag` begins the offsets of this process.

    `followers`: how many may want to return. With none nothing is remembered.
    """

    def __init__(self, tag: str, bytes_max: int = BYTES_MAX) -> None:
        self.tag = tag
        self.number = 0
        self.followers = 0
        self._bytes_max = bytes_max
        self._bytes = 0
        self._log: deque[Delivered] = deque()
        self._index: dict[tuple[str, str], list[Delivered]] = {}
        self._index_from = 1  # the numbers from and up to which the index goes
        self._indexed = 0

    @property
    def first(self) -> int:
        """The number of the oldest that is kept."""
        return self.number - len(self._log) + 1

    def add(
        self, namespace: str, rooms: Sequence[str], skip: str | None, packet: Outgoing, source: Source | None
    ) -> None:
        at = time.monotonic()
        self.number += 1
        packet.offset = f"{self.tag}{self.number:x}"
        log = self._log
        log.append(Delivered(self.number, at, namespace, rooms, skip, packet, source))
        self._bytes += _size(packet)
        while self._bytes > self._bytes_max:
            self._drop_oldest()
        self.expire(at)

    def expire(self, at: float) -> None:
        while self._log and self._log[0].at < at - KEPT_S:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._bytes -= _size(self._log.popleft().packet)
        if self._index and self._indexed < self.first:
            self._forget_index()

    def number_of(self, offset: str) -> int | None:
        """The number behind an offset of this process; None for another's."""
        if not offset.startswith(self.tag):
            return None
        try:
            return int(offset.removeprefix(self.tag), 16)
        except ValueError:
            return None

    def since(self, namespace: str, rooms: Collection[str], sid: str, number: int) -> list[Delivered] | None:
        """What went to any of the rooms, `sid` excepted, after that number, in order. None: not all of it is kept."""
        if number < self.first - 1 or number > self.number:
            return None
        self._bring_up()
        found: dict[int, Delivered] = {}
        for room in rooms:
            entries = self._index.get((namespace, room), [])
            for entry in entries[bisect_right(entries, number, key=_number) :]:
                if entry.skip != sid:
                    found[entry.number] = entry
        return [found[key] for key in sorted(found)]

    def sources(self, namespace: str, rooms: Collection[str], number: int, within_s: float) -> list[Source]:
        """Of what went to any of the rooms up to that number, lately."""
        self._bring_up()
        since = time.monotonic() - within_s
        found: set[Source] = set()
        for room in rooms:
            entries = self._index.get((namespace, room), [])
            for entry in reversed(entries[: bisect_right(entries, number, key=_number)]):
                if entry.at < since:
                    break
                if entry.source is not None:
                    found.add(entry.source)
        return list(found)

    def _bring_up(self) -> None:
        if self.first - self._index_from > len(self._log):  # it holds more of the past than of what is kept
            self._forget_index()
        start = max(self._indexed + 1, self.first)
        for entry in islice(self._log, start - self.first, None):
            for room in entry.rooms:
                self._index.setdefault((entry.namespace, room), []).append(entry)
        self._indexed = self.number

    def _forget_index(self) -> None:
        self._index.clear()
        self._index_from = self.first
        self._indexed = self.first - 1


def _number(entry: Delivered) -> int:
    return entry.number


def _size(packet: Outgoing) -> int:
    """In memory: the text, two frames of it and the objects around them (measured: 1,230 bytes for 180 of text)."""
    return 3 * len(packet.text) + OBJECTS_BYTES
