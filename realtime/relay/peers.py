"""What a process knows of the others of its deployment: their streams, and whether they live.

A peer is known from the first thing heard of it. One that ends says so; one of which nothing is heard for DEAD_S while
this process hears itself is dead. `uncertain(since)` is called when something that a peer published, or should have
published, since that moment (seconds since 1970) may never reach this process:

    something of a stream cannot be had any more, or its publisher has died
    nothing was heard for so long that a process can have begun, served and died meanwhile
    people were let into a room before its channel was heard
    a stream is first heard of, and its peer could not publish, or this process not hear, all the time since then
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ops.metrics import RELAY
from realtime.relay.publication import Publication
from realtime.relay.streams import GIVE_UP_S, SENT_AGE_S, Stream

log = logging.getLogger("parley.relay")

DEAD_S = 4.0
SILENT_S = 6.0
HUNG_S = 1.0
ECHO_FRESH_S = 2.0
# A process that begins without Redis serves nobody before it has waited for that; see Relay.start.
START_WAIT_S = 2.0


class Peer:
    """`complete_at`: when everything it had published until then was here (seconds since 1970). `answered`: the last of
    this process's questions how far its streams go that it has answered."""

    __slots__ = (
        "_handled", "_handled_before", "_turned_at", "answered", "born_at", "complete_at", "heard_at", "id", "streams",
    )  # fmt: skip

    def __init__(self, identifier: str) -> None:
        self.id = identifier
        self.streams: dict[str, Stream[Publication]] = {}
        self.heard_at = time.monotonic()
        self.born_at: float | None = None
        self.answered = 0
        self.complete_at = time.time()
        self._handled: set[int] = set()
        self._handled_before: set[int] = set()
        self._turned_at = self.heard_at

    def first_time(self, number: int) -> bool:
        """Whether no copy of it came yet. Copies come together, or when sent again: not later than they are kept."""
        if number in self._handled or number in self._handled_before:
            return False
        if self.heard_at - self._turned_at > SENT_AGE_S:
            self._handled, self._handled_before, self._turned_at = set(), self._handled, self.heard_at
        self._handled.add(number)
        return True


class Peers:
    """`following`: channels whose subscription is confirmed. `steady_since`: it has listened without a break."""

    def __init__(self, own: str, hand_on: Callable[[Publication], None], ask: Callable[[str, str, int], None]) -> None:
        self._own = own
        self._own_head = f" {own} ".encode()
        self._hand_on = hand_on
        self._ask = ask
        self._peers: dict[str, Peer] = {}
        self._departed: dict[str, Peer] = {}  # taken for dead, and perhaps only frozen
        self.following: set[str] = set()
        self._owed_since: dict[str, float] = {}
        self._followed_since: dict[str, float] = {}  # without a pause; kept when the connection ends
        self.uncertain: list[Callable[[float], None]] = []
        self.echo_at = float("-inf")
        self._question, self._came_back = 0, False
        self.steady_since = self._ticked_at = time.monotonic()
        self._heard_at: float | None = None
        self.since = float("inf")  # when the first of those that are there was heard of
        self.late = False  # while something is handed on that has come behind a gap, or filled it

    def __len__(self) -> int:
        return len(self._peers)

    def fresh(self, within_s: float) -> set[str]:
        """Those heard of lately."""
        since = time.monotonic() - within_s
        return {peer.id for peer in self._peers.values() if peer.heard_at >= since}

    @property
    def behind(self) -> bool:
        """Something was published that is still to come."""
        return any(stream.behind for peer in self._peers.values() for stream in peer.streams.values())

    def asked(self, question: int) -> None:
        """This process asks everyone how far their streams go."""
        self._question, self._came_back = question, False

    def came_back(self, question: int) -> None:
        """This process's own question, or a later one: everything that Redis passed on before it is here."""
        self._came_back = self._came_back or question >= self._question

    @property
    def answered_all(self) -> bool:
        """Everyone has answered the last question, and all that they had said by then is here.

        An answer names its question, since a node of Redis that was frozen may pass on what it was given long ago."""
        said = all(peer.answered >= self._question for peer in self._peers.values())
        return self._came_back and said and not self.behind

    def owed(self, channel: str) -> None:
        """Someone here relies on what is published to it from now on, whether it is heard or not."""
        self._owed_since.setdefault(channel, time.monotonic())

    def follow(self, channel: str) -> None:
        """Its subscription is confirmed, so from here on it is heard."""
        self.following.add(channel)
        at = time.monotonic()
        owed_since = self._owed_since.setdefault(channel, at)
        if channel not in self._followed_since and owed_since < at:
            self._tell(_wall(owed_since))
        self._followed_since[channel] = at

    def lost(self) -> None:
        """The connection has ended."""
        self.following.clear()
        self.steady_since = time.monotonic()

    def received(self) -> None:
        """Something came, from whomever; this process hears at least itself, once a second."""
        at = time.monotonic()
        if self._heard_at is not None and at - self._heard_at > START_WAIT_S:
            self._tell(_wall(self._heard_at))
        self._heard_at = at

    def unfollow(self, channel: str) -> None:
        self.following.discard(channel)
        self._owed_since.pop(channel, None)
        self._followed_since.pop(channel, None)
        for peer in (*self._peers.values(), *self._departed.values()):
            peer.streams.pop(channel, None)

    def silent(self, at: float) -> bool:
        """Not even this process's own words come back."""
        return at - max(self.echo_at, self.steady_since) > SILENT_S

    def heard(self, channel: str, message: bytes) -> None:
        """A publication."""
        if message.startswith(self._own_head, 1):
            return
        if channel not in self.following:  # on its way when the connection was told to leave the channel
            return
        publication = Publication.read(message)
        at = time.monotonic()
        peer = self._peer(publication.process, at)
        stream = peer.streams.get(channel)
        if stream is None:
            stream = peer.streams[channel] = Stream()
            if peer.born_at is not None and peer.born_at > self._owed_since[channel]:
                stream.next_offset = 1
        late = stream.behind
        self._pass(peer, stream.arrive(publication.offset, publication, len(message), at), late)

    def announced(
        self, identifier: str, uptime_s: float, publishing_s: float, positions: dict[str, int], answered: int = 0
    ) -> None:
        """`publishing_s`: for so long it has published all that it said. `answered`: this process's question."""
        at = time.monotonic()
        if identifier == self._own:
            self.echo_at = at
            return
        peer = self._peer(identifier, at)
        peer.answered = max(peer.answered, answered)
        if peer.born_at is None:
            peer.born_at = at - uptime_s
        doubtful = []
        for channel in self.following:
            stream = peer.streams.get(channel)
            if stream is None:
                stream = peer.streams[channel] = Stream()
            owed_since = self._owed_since[channel]
            if stream.next_offset is None and peer.born_at > owed_since:
                stream.next_offset = 1  # all of it is for us
            stream.announced(positions.get(channel, 0), at)
            if not stream.judged:
                stream.judged = True
                # What it said before it could publish, or we could hear, is before the beginning of the stream here.
                if stream.first > 1 and max(at - publishing_s, self._followed_since[channel]) > owed_since:
                    doubtful.append(max(owed_since, peer.born_at))
        if doubtful:
            self._tell(_wall(min(doubtful)))
        if not any(stream.behind for stream in peer.streams.values()):
            peer.complete_at = time.time()

    def left(self, identifier: str) -> None:
        """It has ended; its streams go as far as it announced, and what is missing of them is lost."""
        peer = self._peers.get(identifier)
        if peer is not None:
            self._end(peer, died=False)

    def gone(self, identifier: str, channel: str, offset: int) -> None:
        """What is before `offset` cannot be sent again."""
        peer = self._peers.get(identifier)
        stream = peer.streams.get(channel) if peer is not None else None
        if peer is None or stream is None or stream.next_offset is None or offset <= stream.next_offset:
            return
        self._missed(peer, channel)
        self._pass(peer, stream.skip_to(offset, time.monotonic()))

    def answered(self, identifier: str, channel: str) -> None:
        peer = self._peers.get(identifier)
        stream = peer.streams.get(channel) if peer is not None else None
        if stream is not None:
            stream.ask_at_once(time.monotonic())

    def tick(self, at: float) -> None:
        if at - self._ticked_at > HUNG_S:
            self.steady_since = at  # it was this process that did not listen
        self._ticked_at = at
        hears_itself = at - self.echo_at < ECHO_FRESH_S
        for peer in list(self._peers.values()):
            if hears_itself and at - max(peer.heard_at, self.steady_since) > DEAD_S:
                self._end(peer, died=True)
                continue
            # While nothing can be asked or answered, nothing is given up either.
            patient = not hears_itself or at - self.steady_since < GIVE_UP_S
            for channel, stream in peer.streams.items():
                if stream.full or (stream.hopeless(at) and not patient):
                    self._missed(peer, channel)
                    self._pass(peer, stream.give_up(at))
                elif (offset := stream.wanted(at)) is not None:
                    self._ask(peer.id, channel, offset)
        for departed in [one for one in self._departed.values() if one.heard_at < at - SENT_AGE_S]:
            del self._departed[departed.id]
            self._tell(departed.complete_at)  # it may have been cut off only, gone on, and died later

    def _peer(self, identifier: str, at: float) -> Peer:
        peer = self._peers.get(identifier)
        if peer is None:
            peer = self._departed.pop(identifier, None) or Peer(identifier)
            if not self._peers:
                self.since = at
            self._peers[identifier] = peer
            log.info("relay hears of process %s", identifier)
        peer.heard_at = at
        return peer

    def _pass(self, peer: Peer, publications: list[Publication], late: bool = True) -> None:
        self.late = late
        for publication in publications:
            try:
                if publication.copies == 1 or peer.first_time(publication.number):
                    self._hand_on(publication)
            except Exception:  # one publication's fault must not keep the others from arriving
                log.exception("a publication of process %s could not be handled", peer.id)

    def _missed(self, peer: Peer, channel: str) -> None:
        RELAY.missed += 1
        log.warning("something that process %s published on channel %s is lost", peer.id, channel)
        self._tell(peer.complete_at)

    def _end(self, peer: Peer, died: bool) -> None:
        del self._peers[peer.id]
        if not self._peers:
            self.since = float("inf")
        at = time.monotonic()
        if died:
            log.warning("process %s was not heard of for %.0f s: taken for dead", peer.id, DEAD_S)
            self._departed[peer.id] = peer
            self._tell(peer.complete_at)
            return
        for channel, stream in peer.streams.items():
            if stream.behind:
                self._missed(peer, channel)
                self._pass(peer, stream.give_up(at))
        log.info("process %s has ended", peer.id)

    def _tell(self, since: float) -> None:
        for callback in self.uncertain:
            callback(since)


def _wall(at: float) -> float:
    """A moment of the monotonic clock in seconds since 1970."""
    return time.time() - (time.monotonic() - at)
