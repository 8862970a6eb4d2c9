"""Keeps the messages of a conversation in `seq` order at the process that hands them to clients.

Two processes that append to one conversation publish independently, so this process may hear of 8 before 7. It holds
8 back until 7 came or a short wait is over. The publisher says whether the predecessor is `settled` (its own, or old),
in which case there is nothing to wait for. After a wait in vain the held ones go out in order: the gap shows in `seq`
and the client fetches it.

A conversation that is new here starts in one of two ways: with seq 1 or a settled message its place is known; with any
other message it is not, so everything is held for one wait and then goes out from the lowest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

log = logging.getLogger("parley.ordering")

Deliver = Callable[[], Awaitable[None]]
HOLD_S = 0.3
TRACKED_MAX = 100_000


class _Track:
    """`next_seq` None: this conversation is new here and its place is not known yet."""

    __slots__ = ("held", "next_seq", "timer")

    def __init__(self) -> None:
        self.next_seq: int | None = None
        self.held: dict[int, Deliver] = {}
        self.timer: asyncio.TimerHandle | None = None


class Sequencer:
    """`accept` delivers now, or later in order. One per process."""

    def __init__(self, hold_s: float = HOLD_S, tracked_max: int = TRACKED_MAX) -> None:
        self._hold_s = hold_s
        self._tracked_max = tracked_max
        self._tracks: OrderedDict[str, _Track] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.gaps = 0

    async def accept(self, key: str, seq: int, settled: bool, deliver: Deliver) -> None:
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = _Track()
            self._evict()
        else:
            self._tracks.move_to_end(key)
        if self._must_wait(track, seq, settled):
            track.held[seq] = deliver
            self._start_timer(track)
            return
        track.next_seq = max(track.next_seq or 0, seq + 1)
        try:
            await deliver()
        finally:
            if track.held:
                # Not inline: the caller's acknowledgement of `seq` is yet to be sent, and must come before seq + 1.
                asyncio.get_running_loop().call_soon(self._spawn, track, False)

    @staticmethod
    def _must_wait(track: _Track, seq: int, settled: bool) -> bool:
        if track.next_seq is None:  # settled behind one that waits itself: that one may still have to wait for others
            return seq != 1 and (not settled or seq - 1 in track.held)
        return seq > track.next_seq and (bool(track.held) or not settled)

    def _start_timer(self, track: _Track) -> None:
        if track.timer is None:
            track.timer = asyncio.get_running_loop().call_later(self._hold_s, self._give_up, track)

    def _evict(self) -> None:
        while len(self._tracks) > self._tracked_max:
            key, track = next(iter(self._tracks.items()))
            if track.held:
                self._tracks.move_to_end(key)
                return
            del self._tracks[key]

    def _give_up(self, track: _Track) -> None:
        track.timer = None
        self._spawn(track, True)

    def _spawn(self, track: _Track, over_gap: bool) -> None:
        task = asyncio.ensure_future(self._release(track, over_gap))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _release(self, track: _Track, over_gap: bool) -> None:
        if over_gap and track.held and track.next_seq not in track.held:
            self.gaps += track.next_seq is not None
            track.next_seq = min(track.held)
        while track.next_seq is not None and (deliver := track.held.pop(track.next_seq, None)) is not None:
            # Claimed before the await: another release of this track must not deliver it too.
            track.next_seq += 1
            try:
                await deliver()
            except Exception:
                log.exception("delivering a held message failed")
        if track.held:
            self._start_timer(track)
        elif track.timer is not None:
            track.timer.cancel()
            track.timer = None
