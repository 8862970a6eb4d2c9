"""Keeps the messages of a conversation in `seq` order at the process that hands them to clients.

Two processes that append to one conversation publish independently, so this process may hear of 8 before 7. It holds
8 back until 7 came or a short wait is over. The publisher says whether the predecessor is `settled` (its own, or old),
in which case there is nothing to wait for. The wait goes on while the others are `behind`, and there is none while they
are `away`. After a wait in vain the held ones go out in order: the gap shows in `seq` and the client fetches it.
Whatever comes after its successors is not delivered: clients are told to look instead.

A conversation that is new here starts in one of two ways: with seq 1 or a settled message its place is known; with any
other message it is not, so everything is held for one wait and then goes out from the lowest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Protocol

log = logging.getLogger("parley.ordering")

# Called with whether it comes in order: False for one whose successors were delivered without it.
Deliver = Callable[[bool], None]
HOLD_S = 0.3
TRACKED_MAX = 100_000


class _Track:
    """`next_seq` None: this conversation is new here, its place not known yet. `turn`: one of ours is going out."""

    __slots__ = ("held", "next_seq", "rooms", "timer", "turn")

    def __init__(self) -> None:
        self.next_seq: int | None = None
        self.held: dict[int, Deliver | asyncio.Future[None]] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.turn = False
        self.rooms: set[str] = set()  # of what is held

    def pass_on(self, seq: int) -> bool:
        """It goes out now. False if one behind it did before."""
        in_order = self.next_seq is None or seq >= self.next_seq
        self.next_seq = max(self.next_seq or 0, seq + 1)
        return in_order


class Others(Protocol):
    """What is known of the processes that others' messages come from."""

    @property
    def behind(self) -> bool:
        """Something of theirs is missing and about to be sent again."""
        ...

    @property
    def away(self) -> bool:
        """Nothing of theirs can come now."""
        ...


class Sequencer:
    """`accept` takes what other processes publish, `turn` brackets what this one does. One per process."""

    def __init__(self, others: Others, hold_s: float = HOLD_S, tracked_max: int = TRACKED_MAX) -> None:
        self._others = others
        self._hold_s = hold_s
        self._tracked_max = tracked_max
        self._tracks: OrderedDict[str, _Track] = OrderedDict()
        self._waiting: set[_Track] = set()
        self.gaps = 0

    def holds(self, rooms: Collection[str]) -> bool:
        """Whether something for one of the rooms waits here."""
        return any(not track.rooms.isdisjoint(rooms) for track in self._waiting)

    def accept(self, key: str, seq: int, settled: bool, deliver: Deliver, rooms: Collection[str] = ()) -> None:
        """Delivers now, or later in order."""
        track = self._track(key)
        if self._must_wait(track, seq, settled):
            track.held[seq] = deliver
            self._wait(track, rooms)
            return
        in_order = track.pass_on(seq)
        try:
            deliver(in_order)
        finally:
            self._go_on(track)

    @asynccontextmanager
    async def turn(self, key: str, seq: int, settled: bool, rooms: Collection[str] = ()) -> AsyncIterator[bool]:
        """Waits until it is this message's turn; the ones after it wait until the body is done.

        Gives whether it comes in order, or later ones went out before it.

        What runs on from the end of the body without a pause, such as sending the acknowledgement of this message,
        comes before the next message goes out.
        """
        track, in_order = self._track(key), True
        if self._must_wait(track, seq, settled):
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            track.held[seq] = gate
            self._wait(track, rooms)
            try:
                await gate
            except asyncio.CancelledError:
                if gate.done() and not gate.cancelled():  # the turn was given, and nobody is there to end it
                    track.turn = False
                    self._go_on(track)
                raise
        else:
            in_order = track.pass_on(seq)
        track.turn = True
        try:
            yield in_order
        finally:
            track.turn = False
            self._go_on(track)

    def _track(self, key: str) -> _Track:
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = _Track()
            self._evict()
        else:
            self._tracks.move_to_end(key)
        return track

    def _must_wait(self, track: _Track, seq: int, settled: bool) -> bool:
        if self._others.away and not track.turn and not track.held:
            return False
        if track.next_seq is None:  # a settled one too waits behind any before it that wait
            return seq != 1 and (not settled or any(held < seq for held in track.held))
        if track.turn:
            return seq >= track.next_seq
        return seq > track.next_seq and (bool(track.held) or not settled)

    def _wait(self, track: _Track, rooms: Collection[str]) -> None:
        track.rooms.update(rooms)
        self._waiting.add(track)
        self._start_timer(track)

    def _start_timer(self, track: _Track) -> None:
        if track.timer is None:
            track.timer = asyncio.get_running_loop().call_later(self._hold_s, self._give_up, track)

    def _evict(self) -> None:
        while len(self._tracks) > self._tracked_max:
            key, track = next(iter(self._tracks.items()))
            if track.held or track.turn:
                self._tracks.move_to_end(key)
                return
            del self._tracks[key]

    def _go_on(self, track: _Track) -> None:
        if track.held:  # not inline: the caller's acknowledgement is yet to be sent, and must come before the next one
            asyncio.get_running_loop().call_soon(self._release, track, False)

    def _give_up(self, track: _Track) -> None:
        track.timer = None
        if self._others.behind and not self._others.away:
            self._start_timer(track)
        else:
            self._release(track, True)

    def _release(self, track: _Track, over_gap: bool) -> None:
        if over_gap and not track.turn and track.held and track.next_seq not in track.held:
            self.gaps += track.next_seq is not None
            track.next_seq = min(track.held)
        while not track.turn and track.next_seq is not None and track.next_seq in track.held:
            waiting = track.held.pop(track.next_seq)
            track.next_seq += 1
            if isinstance(waiting, asyncio.Future):
                if not waiting.done():
                    track.turn = True  # from here on, not only once its task runs; its end goes on with the rest
                    waiting.set_result(None)
                continue
            try:
                waiting(True)
            except Exception:
                log.exception("delivering a held message failed")
        if track.held:
            self._start_timer(track)
            return
        self._waiting.discard(track)
        track.rooms.clear()
        if track.timer is not None:
            track.timer.cancel()
            track.timer = None
