"""Positions of what processes tell each other, so that whoever missed something knows.

What one process (its *epoch*, new with every start) publishes on one channel is a stream: its entries are numbered
1, 2, 3, … without a gap. The publisher keeps what it published for a while (`Sent`), and a subscriber follows each
stream (`Stream`): an entry beyond the next one is held until what is missing was sent again, so entries are handed on
in order and once; if it cannot be had any more, the stream goes on and its subscriber knows that something is missing.

    in order --entry beyond the next, or announced--> gap --sent again--> in order
                                                      gap --gone, or waited in vain--> in order, something missed

No I/O and no clock of its own: times are passed in, in seconds.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Generic, TypeVar

SENT_BYTES_MAX = 33_554_432
SENT_AGE_S = 150.0
AGAIN_MAX = 512
AGAIN_BYTES_MAX = 1_048_576
HELD_MAX = 10_000
HELD_BYTES_MAX = 8_388_608
# An entry that is late, not lost, fills its gap within this.
GRACE_S = 0.2
ASK_AGAIN_S = 1.0
GIVE_UP_S = 3.0

Entry = tuple[bytes, bytes]  # its head, which is its own, and its body, which may be shared with other streams
T = TypeVar("T")


class _Log:
    """The kept entries of one stream; `first` is the offset of the oldest."""

    __slots__ = ("entries", "first")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.first = 1


class Sent:
    """What this process published, oldest given up first: by bytes over all streams, and by age."""

    def __init__(self, bytes_max: int = SENT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._logs: dict[str, _Log] = {}
        self._order: deque[tuple[float, str]] = deque()
        self.bytes = 0

    def next_offset(self, channel: str) -> int:
        log = self._logs.get(channel)
        return log.first + len(log.entries) if log is not None else 1

    def add(self, channel: str, entry: Entry, at: float) -> None:
        log = self._logs.get(channel)
        if log is None:
            log = self._logs[channel] = _Log()
        log.entries.append(entry)
        self._order.append((at, channel))
        self.bytes += len(entry[0]) + len(entry[1])
        while self.bytes > self._bytes_max:
            self._give_up_oldest()

    def expire(self, at: float) -> None:
        while self._order and self._order[0][0] < at - SENT_AGE_S:
            self._give_up_oldest()

    def _give_up_oldest(self) -> None:
        log = self._logs[self._order.popleft()[1]]
        head, body = log.entries.popleft()
        log.first += 1
        self.bytes -= len(head) + len(body)

    def positions(self) -> dict[str, int]:
        """Channel → offset of its last entry."""
        return {channel: log.first + len(log.entries) - 1 for channel, log in self._logs.items()}

    def since(self, channel: str, first: int) -> tuple[int, list[Entry]]:
        """(offset, entries) from `first` on, or from the oldest that is kept; as many as are sent again at once."""
        log = self._logs.get(channel)
        if log is None:
            return first, []
        start = max(first, log.first)
        some: list[Entry] = []
        size = 0
        for entry in islice(log.entries, start - log.first, start - log.first + AGAIN_MAX):
            size += len(entry[0]) + len(entry[1])
            if some and size > AGAIN_BYTES_MAX:
                break
            some.append(entry)
        return start, some


class Stream(Generic[T]):
    """What a subscriber knows of one stream. `next_offset` None: it has not heard anything of it yet."""

    __slots__ = ("_asked_at", "_held", "_held_bytes", "_last", "_since", "first", "judged", "next_offset")

    def __init__(self) -> None:
        self.next_offset: int | None = None
        self.first = 1  # where it began here
        self.judged = False  # whether its subscriber has thought about what was before that
        self._held: dict[int, tuple[T, int]] = {}  # with their sizes
        self._held_bytes = 0
        self._last = 0  # the highest offset that is known to exist
        self._since: float | None = None  # when the gap was noticed, or last became smaller
        self._asked_at = 0.0

    def arrive(self, offset: int, entry: T, size: int, at: float) -> list[T]:
        """What may be handed on now, in order. `size`: in bytes."""
        if self.next_offset is None:
            self.next_offset = self.first = offset
        if offset < self.first:
            return [entry]  # overtaken by what told of it, as by two ways while a cluster's master steps down
        if offset < self.next_offset or offset in self._held:
            return []
        self._last = max(self._last, offset)
        if offset > self.next_offset:
            self._held[offset] = entry, size
            self._held_bytes += size
            self._notice(at)
            return []
        self.next_offset += 1
        if self._since is None:
            return [entry]
        return [entry, *self._release(at)]

    def announced(self, last: int, at: float) -> None:
        """The publisher says how far the stream goes; news to a subscriber of what was to come, or was lost."""
        if self.next_offset is None:
            self.next_offset = self.first = last + 1
        if last >= self.next_offset:
            self._last = max(self._last, last)
            self._notice(at)

    @property
    def behind(self) -> bool:
        return self._since is not None

    def wanted(self, at: float) -> int | None:
        """The offset from which to ask again, if it is time to."""
        if self._since is None or at < self._since + GRACE_S or at < self._asked_at + ASK_AGAIN_S:
            return None
        self._asked_at = at
        return self.next_offset

    @property
    def full(self) -> bool:
        """More cannot be held: the gap is given up."""
        return len(self._held) > HELD_MAX or self._held_bytes > HELD_BYTES_MAX

    def hopeless(self, at: float) -> bool:
        """Nothing came for so long that the gap is better given up."""
        return self._since is not None and at >= self._since + GIVE_UP_S

    def skip_to(self, offset: int, at: float) -> list[T]:
        """What is before `offset` will not come any more; returns what may be handed on."""
        assert self.next_offset is not None
        if offset > self.next_offset:
            for gone in [held for held in self._held if held < offset]:
                self._held_bytes -= self._held.pop(gone)[1]
            self.next_offset = offset
            self._last = max(self._last, offset - 1)
        return self._release(at)

    def give_up(self, at: float) -> list[T]:
        """Goes on behind the gap."""
        return self.skip_to(min(self._held, default=self._last + 1), at)

    def ask_at_once(self, at: float) -> None:
        """All of an answer has come, and more is missing."""
        if self._since is not None:
            self._since, self._asked_at = at - GRACE_S, 0.0

    def _notice(self, at: float) -> None:
        if self._since is None:
            self._since = at
            self._asked_at = 0.0

    def _release(self, at: float) -> list[T]:
        assert self.next_offset is not None
        freed: list[T] = []
        while (held := self._held.pop(self.next_offset, None)) is not None:
            self._held_bytes -= held[1]
            self.next_offset += 1
            freed.append(held[0])
        self._since = None if self.next_offset > self._last else at
        return freed
