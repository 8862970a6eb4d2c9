"""What goes out: coalesced, bounded while the peer does not read, the newest of a kind where only that matters."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ops.metrics import ENGINE
from realtime import outbox
from realtime.history import History
from realtime.outbox import BYTES_MAX, COALESCE_MAX_S, COALESCE_S, LATEST_MAX, Flusher, Outbox
from realtime.packets import Outgoing
from realtime.rooms import Member, Rooms
from tests.support import until


class Recorder(Outbox):
    """`blocks_after`: how many writes its peer takes before it stops reading."""

    def __init__(self, flusher: Flusher, blocks_after: int = 1_000_000) -> None:
        super().__init__(flusher)
        self.writes: list[bytes] = []
        self.overflown = 0
        self._left = blocks_after

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self._left -= 1
        if self._left == 0:
            self.blocked = True

    def overflow(self) -> None:
        self.overflown += 1


class Count:
    """What the engine counted since this was made."""

    def __init__(self) -> None:
        self._before = vars(ENGINE).copy()

    def __getattr__(self, name: str) -> int:
        since: int = getattr(ENGINE, name) - self._before[name]
        return since


def made(number: int, size: int = 0) -> Outgoing:
    return Outgoing(f'42/chat,["chat:message",{number}{"x" * size}]'.encode())


def frames(*packets: Outgoing) -> bytes:
    return b"".join(packet.frame for packet in packets)


async def flushed(outbox: Outbox) -> None:
    """At once, or after the flusher's rest if the machine is busy."""
    await asyncio.sleep(0)
    while outbox.flusher.dirty:
        await asyncio.sleep(0)


async def test_what_is_sent_in_one_turn_is_one_write() -> None:
    box, count = Recorder(Flusher()), Count()
    packets = [made(number) for number in range(5)]
    for packet in packets:
        box.send(packet)
    assert box.writes == []
    await flushed(box)
    assert box.writes == [frames(*packets)]
    assert (count.packets, count.writes, count.flushes) == (5, 1, 1)
    assert box.packets == []


async def test_a_broadcast_is_joined_once_for_all() -> None:
    flusher, count = Flusher(), Count()
    boxes = [Recorder(flusher) for _ in range(3)]
    other = Recorder(flusher)
    for packet in (made(1), made(2)):
        for box in boxes:
            box.send(packet)
    other.send(made(3))
    await flushed(other)
    assert [box.writes for box in boxes] == [[frames(made(1), made(2))]] * 3
    assert boxes[0].writes[0] is boxes[1].writes[0] is boxes[2].writes[0]
    assert other.writes == [made(3).frame]
    assert (count.packets, count.writes, count.flushes) == (7, 4, 1)


@pytest.mark.parametrize(
    ("took_s", "rest_s"),
    [(0.002, 0.002), (0.004, COALESCE_S), (0.012, COALESCE_S), (0.03, 0.01), (1.0, COALESCE_MAX_S)],
)
async def test_a_busy_flusher_rests(monkeypatch: pytest.MonkeyPatch, took_s: float, rest_s: float) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(outbox, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    class Slow(Recorder):
        def write(self, data: bytes) -> None:
            super().write(data)
            clock.now += took_s

    box = Slow(Flusher())
    called: list[float] = []
    loop = asyncio.get_running_loop()
    genuine = loop.call_later

    def call_later(delay: float, *args: Any, **options: Any) -> asyncio.TimerHandle:
        called.append(delay)
        return genuine(delay, *args, **options)

    box.send(made(1))
    await flushed(box)
    assert box.writes == [made(1).frame]
    monkeypatch.setattr(loop, "call_later", call_later)
    box.send(made(2))
    box.send(made(3))
    assert called == [pytest.approx(rest_s)]
    await until(lambda: len(box.writes) == 2)
    assert box.writes[1] == frames(made(2), made(3))
    clock.now += 1.0
    box.send(made(4))
    await flushed(box)
    assert box.writes[2:] == [made(4).frame], "after a rest nothing waits"


# A peer that does not read


async def test_durable_packets_wait_and_all_arrive_in_order() -> None:
    box = Recorder(Flusher(), blocks_after=1)
    box.send(made(0))
    await flushed(box)
    for number in range(1, 50):
        box.send(made(number))
        await flushed(box)
    assert box.writes == [made(0).frame]
    assert box.waiting_bytes == len(frames(*(made(number) for number in range(1, 50))))
    box.unblock()
    assert box.waiting_bytes == 0
    box.send(made(50))
    await flushed(box)
    assert b"".join(box.writes) == frames(*(made(number) for number in range(51)))
    assert box.overflown == 0


async def test_only_the_newest_of_each_key_waits() -> None:
    box, count = Recorder(Flusher()), Count()
    box.blocked = True
    packets = {(key, number): Outgoing(f"42/typing,{key}{number}".encode()) for key in "ab" for number in range(4)}
    for (key, _), packet in packets.items():
        box.send_latest(key, packet)
        box.send(made(1))
        await flushed(box)
    assert count.superseded == 6
    box.unblock()
    await flushed(box)
    assert box.writes == [frames(*[made(1)] * 8, packets["a", 3], packets["b", 3])]
    assert count.superseded == 6


async def test_a_newer_one_takes_its_place_behind_the_others() -> None:
    box = Recorder(Flusher())
    box.blocked = True
    for key, number in (("a", 1), ("b", 2), ("a", 3)):
        box.send_latest(key, made(number))
    box.unblock()
    await flushed(box)
    assert box.writes == [frames(made(2), made(3))]


async def test_nothing_is_superseded_while_the_peer_reads() -> None:
    box, count = Recorder(Flusher()), Count()
    for number in range(3):
        box.send_latest("same", made(number))
    await flushed(box)
    assert box.writes == [frames(made(0), made(1), made(2))]
    assert count.superseded == 0


async def test_keys_are_bounded_too_and_beyond_it_ends() -> None:
    """Leaving one out would leave a client believing what is not true any more."""
    box, count = Recorder(Flusher()), Count()
    box.blocked = True
    for number in range(LATEST_MAX):
        box.send_latest(number, made(number))
        box.send_latest(number, made(number))
    assert (count.superseded, count.overflows, box.overflown) == (LATEST_MAX, 0, 0)
    box.send_latest(LATEST_MAX, made(LATEST_MAX))
    assert (count.superseded, count.overflows, box.overflown) == (LATEST_MAX, 1, 1)


async def test_each_gets_an_event_with_or_without_its_offset_as_it_keeps_them() -> None:
    flusher = Flusher()
    outboxes = [Recorder(flusher) for _ in range(6)]
    for number, box in enumerate(outboxes):
        box.offsets = number % 3 == 1
    event, plain = made(1), made(2)
    event.offset = "p-1"
    for box in outboxes:
        box.send(event)
        box.send(plain)
    await flushed(outboxes[0])
    assert event.frame_with_offset != event.frame
    assert event.frame_with_offset[2:] == event.text[:-1] + b',"p-1"]'
    for number, box in enumerate(outboxes):
        first = event.frame_with_offset if number % 3 == 1 else event.frame
        assert box.writes == [first + plain.frame]


async def test_one_that_is_cut_off_in_the_middle_of_a_room_leaves_the_others_their_event() -> None:
    rooms, count = Rooms(), Count()
    rooms.flusher, rooms.history = Flusher(), History("t-")
    members: list[Any] = []

    class Cut(Recorder):
        def overflow(self) -> None:
            super().overflow()
            rooms.remove(next(member for member in members if member.session.link is self))

    for number in range(9):
        session: Any = SimpleNamespace(members={}, link=Cut(rooms.flusher))
        members.append(Member(str(number), session, SimpleNamespace(name="/typing")))
        rooms.admit(members[-1])
        rooms.enter(str(number), "room", "/typing")
    slow, origin = members[4], members[7]
    slow.session.link.blocked = True
    for number in range(LATEST_MAX):
        slow.session.link.send_latest(number, made(number))
    rooms.deliver("/typing", ["room"], made(1), origin.sid, ("a key of its own",))
    await flushed(members[0].session.link)
    assert slow not in rooms.in_rooms("/typing", ["room"])
    heard = [member for member in members if member.session.link.writes == [made(1).frame]]
    assert heard == [member for member in members if member not in (slow, origin)]
    assert count.deliveries == len(members) - 1  # to all but its origin, the one that it was too much for included


async def test_at_the_bound_it_waits_and_beyond_it_ends() -> None:
    box, count = Recorder(Flusher()), Count()
    box.blocked = True
    size = 65_536
    packet = made(1, size)
    fitting, rest = divmod(BYTES_MAX, len(packet.frame))
    for _ in range(fitting):
        box.send(packet)
        await flushed(box)
    box.send(made(1, rest - len(made(1).frame) - 2))  # a frame of more than 125 bytes says its length in two more
    await flushed(box)
    assert (box.waiting_bytes, box.overflown) == (BYTES_MAX, 0)
    box.send_latest("typing", made(2))
    box.send(Outgoing(b""))
    await flushed(box)
    assert (box.overflown, count.overflows) == (1, 1)
    assert (box.waiting_bytes, box.packets) == (0, [])
    box.unblock()
    await flushed(box)
    assert box.writes == [], "what was given up is not sent later"


async def test_the_bound_counts_anew_after_the_peer_has_read() -> None:
    box = Recorder(Flusher())
    packet = made(1, BYTES_MAX * 3 // 4)
    for _ in range(4):
        box.blocked = True
        box.send(packet)
        await flushed(box)
        box.unblock()
        await flushed(box)
    assert (box.overflown, len(box.writes)) == (0, 4)
