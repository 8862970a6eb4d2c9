"""What waits to be written to one connection, and when it is written.

Writing is not done where something is sent: packets are appended to the connection's outbox and all connections that
got any are flushed together, once per turn of the event loop. When a flush itself takes long the next one rests: as
long again up to COALESCE_S, and a third of it when even that is little beside the flush, up to COALESCE_MAX_S. Under
load many packets then share one write, while an idle server never waits.

Back-pressure. While a connection's peer does not read, its outbox grows only to `BYTES_MAX` beyond what the transport
holds; then the connection is closed with TOO_SLOW and comes back for what it missed. Nothing durable is ever left
out. Packets of which only the newest counts (typing, presence) replace each other by their key while they wait; more
than LATEST_MAX keys are too much as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Sequence

from ops.metrics import ENGINE
from realtime.packets import Outgoing

BYTES_MAX = 1_048_576
LATEST_MAX = 1_000
COALESCE_S = 0.004
COALESCE_MAX_S = 0.015
# A flush shorter than this is no load.
BRIEF_S = 0.000_5


class Outbox:
    """Base of the transports. `blocked`: nothing can be written now, what comes must wait.

    `offsets`: the client keeps the offsets of events and gets them (`realtime.recovery`).
    """

    __slots__ = ("_counted", "_latest", "blocked", "dirty", "flusher", "offsets", "packets", "waiting_bytes")

    def __init__(self, flusher: Flusher, offsets: bool = False) -> None:
        self.flusher = flusher
        self.offsets = offsets
        self.packets: list[Outgoing] = []
        self.dirty = False
        self.blocked = False
        self._counted = 0
        self.waiting_bytes = 0
        self._latest: dict[Hashable, Outgoing] | None = None

    def send(self, packet: Outgoing) -> None:
        self.packets.append(packet)
        if not self.dirty:
            self.flusher.add(self)

    def send_latest(self, key: Hashable, packet: Outgoing) -> None:
        """For what the next packet of the same key makes pointless."""
        if not self.blocked:
            self.send(packet)
            return
        if self._latest is None:
            self._latest = {}
        if self._latest.pop(key, None) is not None:
            ENGINE.superseded += 1
        elif len(self._latest) >= LATEST_MAX:
            self._give_up()
            return
        self._latest[key] = packet

    def write(self, data: bytes) -> None:
        """Hands bytes to the transport."""
        raise NotImplementedError

    def overflow(self) -> None:
        """Too much waits: this connection ends."""
        raise NotImplementedError

    def joined(self, packets: Sequence[Outgoing]) -> bytes:
        """The packets as WebSocket frames, as this client wants them."""
        if self.offsets:
            return b"".join([packet.frame_with_offset for packet in packets])
        return packets[0].frame if len(packets) == 1 else b"".join([packet.frame for packet in packets])

    def flush(self) -> None:
        """What could not be written: counted, against the limit. Writable outboxes are flushed by the Flusher."""
        new = self.packets[self._counted :]
        self._counted = len(self.packets)
        self.waiting_bytes += sum(len(packet.frame) for packet in new)
        if self.waiting_bytes > BYTES_MAX:
            self._give_up()

    def _give_up(self) -> None:
        self.discard()
        ENGINE.overflows += 1
        self.overflow()

    def unblock(self) -> None:
        """The peer reads again."""
        self.blocked = False
        self.gather()
        if self.packets and not self.dirty:
            self.flusher.add(self)

    def gather(self) -> None:
        """All that waits is about to go: the newest of each key joins the rest."""
        self._counted = self.waiting_bytes = 0
        if self._latest:
            self.packets.extend(self._latest.values())
        self._latest = None

    def discard(self) -> None:
        self.packets = []
        self._latest = None
        self._counted = self.waiting_bytes = 0


class Flusher:
    """Flushes the outboxes of a process together."""

    def __init__(self) -> None:
        self.dirty: list[Outbox] = []
        self._scheduled = False
        self._rest_until = 0.0

    def add(self, outbox: Outbox) -> None:
        outbox.dirty = True
        self.dirty.append(outbox)
        if not self._scheduled:
            self.schedule()

    def schedule(self) -> None:
        """A flush at the end of this turn, or a little later while flushes take long."""
        if self._scheduled:
            return
        self._scheduled = True
        loop = asyncio.get_running_loop()
        rest_s = self._rest_until - time.perf_counter()
        if rest_s > BRIEF_S:
            loop.call_later(rest_s, self.flush)
        else:
            loop.call_soon(self.flush)

    def flush(self) -> None:
        started = time.perf_counter()
        self._scheduled = False
        outboxes, self.dirty = self.dirty, []
        previous: list[Outgoing] = []
        data = b""
        with_offsets = False
        for outbox in outboxes:
            outbox.dirty = False
            if outbox.blocked:
                outbox.flush()
                continue
            packets = outbox.packets
            if not packets:
                continue
            # After a broadcast most outboxes hold the same packets: they are joined once, and share the memory.
            if packets != previous or outbox.offsets is not with_offsets:
                previous, with_offsets = packets, outbox.offsets
                data = outbox.joined(packets)
            outbox.packets = []
            ENGINE.packets += len(packets)
            ENGINE.writes += 1
            outbox.write(data)
        ended = time.perf_counter()
        ENGINE.flushes += 1
        if (took_s := ended - started) > BRIEF_S:
            self._rest_until = ended + max(min(took_s, COALESCE_S), min(took_s / 3, COALESCE_MAX_S))
