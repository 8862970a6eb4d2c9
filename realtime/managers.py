"""Client managers: how a publish reaches the connections of this process, and through the relay those of others.

Events that carry an `Order` pass the sequencer before they reach local connections. An event goes to the others on the
channels of its rooms, which a process wants while someone is in them; a few rooms by their own channels, each copy
with all of the rooms and the first one counting, many rooms by the channel that everyone hears. The rooms are in the
message's head: who has nobody in them does not look at the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from functools import partial
from typing import Any
from zlib import crc32

import msgspec
from socketio import AsyncManager

from ops.metrics import ORDER_GAPS, RELAY
from realtime.history import Source
from realtime.ordering import Sequencer
from realtime.packets import Outgoing
from realtime.packets import event as encode_event
from realtime.publisher import Order
from realtime.relay.relay import ALL, Relay
from realtime.rooms import Member, Rooms

CHANNELS = [str(number) for number in range(64)]
COPIES_MAX = 4
EVENT = b"E"

# Called with the rooms of an event that came late, and
# - the key of its order, when its successors had been delivered, and it was not delivered itself;
# - what it tells the whole state of, when it had to be sent again. It was delivered, maybe after a newer state.
Late = Callable[[str, Sequence[str]], None]


class _Remote(msgspec.Struct, array_like=True):
    """The body of an event for other processes. `text`: the encoded packet."""

    skip: str | None
    latest: tuple[str, ...] | None
    order: tuple[str, int, bool] | None
    whole: str | None
    text: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Remote).decode


def _nobody_cares(key: str, rooms: Sequence[str]) -> None:
    pass


def channel_of(room: str) -> str:
    return CHANNELS[crc32(room.encode()) % len(CHANNELS)]


class MemoryManager(Rooms, AsyncManager):  # type: ignore[misc]
    """One process: the log publishes a conversation's messages in order, and nobody else does."""

    async def emit(
        self, event: str, data: Any, namespace: str, room: Sequence[str], skip_sid: str | None = None,
        latest: Hashable = None, order: Order | None = None, local: bool = False, everywhere: bool = False,
        whole: str | None = None,
    ) -> None:  # fmt: skip
        skip = self.origin_here(namespace, skip_sid)
        self.deliver(namespace, room, encode_event(namespace, event, data), skip, latest)


class RelayManager(Rooms, AsyncManager):  # type: ignore[misc]
    """Many processes."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self._relay = relay
        self.late: Late = _nobody_cares
        self.outdated: Late = _nobody_cares
        self.sequencer = Sequencer(relay)
        relay.on(EVENT, self._receive)
        ORDER_GAPS.set_function(lambda: self.sequencer.gaps)

    async def emit(
        self, event: str, data: Any, namespace: str, room: Sequence[str], skip_sid: str | None = None,
        latest: Any = None, order: Order | None = None, local: bool = False, everywhere: bool = False,
        whole: str | None = None,
    ) -> None:  # fmt: skip
        packet, skip_sid = encode_event(namespace, event, data), self.origin_here(namespace, skip_sid)
        if order is None:
            remote = _Remote(skip_sid, latest, None, whole, packet.text)
            source = None if local else self._pass_on(namespace, room, remote, everywhere)
            self.deliver(namespace, room, packet, skip_sid, latest, source)
            return
        async with self.sequencer.turn(order.key, order.seq, order.settled, room) as in_order:
            place = (order.key, order.seq, order.settled)
            source = self._pass_on(namespace, room, _Remote(skip_sid, latest, place, whole, packet.text), everywhere)
            if in_order:
                self.deliver(namespace, room, packet, skip_sid, latest, source)
            else:
                self.late(order.key, room)

    def _pass_on(self, namespace: str, rooms: Sequence[str], event: _Remote, everywhere: bool) -> Source:
        everywhere = everywhere or len(rooms) > COPIES_MAX
        channels = [ALL] if everywhere else list(dict.fromkeys(map(channel_of, rooms)))
        names = f"{namespace} {','.join(rooms)}".encode()
        return self._relay.id, self._relay.send(EVENT, channels, names, _encode(event))

    def _receive(self, process: str, number: int, names: bytes, body: bytes) -> None:
        """From another process."""
        namespace, _, joined = names.decode().partition(" ")
        rooms = joined.split(",")
        if not self.anyone_in(namespace, rooms):
            RELAY.elsewhere += 1
            return
        RELAY.decoded += 1
        event = _decode(body)
        packet = Outgoing(event.text)
        deliver = partial(self.deliver, namespace, rooms, packet, event.skip, event.latest, (process, number))
        if event.order is None:
            deliver()
            if event.whole is not None and self._relay.late:
                self.outdated(event.whole, rooms)
        else:
            key, seq, settled = event.order
            late = partial(self.late, key, rooms)
            self.sequencer.accept(key, seq, settled, lambda in_order: deliver() if in_order else late(), rooms)

    def hears(self, rooms: Collection[str]) -> bool:
        """Whether what others publish to the rooms from now on comes here."""
        return self._relay.hears({ALL, *map(channel_of, rooms)})

    def complete(self, rooms: Collection[str]) -> bool:
        """And all of it until now has gone out: nothing is missing or waits for its turn."""
        return self.hears(rooms) and not self._relay.behind and not self.sequencer.holds(rooms)

    # What the relay listens to

    def room_opened(self, room: str) -> None:
        self._relay.want(channel_of(room))

    def room_closed(self, room: str) -> None:
        self._relay.unwant(channel_of(room))

    async def reach(self, member: Member) -> None:
        await self._relay.reach({channel_of(room) for room in member.rooms})
