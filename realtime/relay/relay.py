"""Publications between processes: numbered, so that whoever misses one knows and asks its publisher for it.

Pub/sub forgets whoever is not listening just now, and Redis may be stopped, frozen or started again. So each process
says once a second how far its streams go (`streams`), and keeps what it published for a while to send it again. What
cannot be had any more, because its publisher has died or has given it up, is made known as `peers.uncertain`. Sending
never waits and never fails: without Redis what is sent is kept, and asked for when Redis is back.

Channels: `all`, which everyone hears; any others, heard by processes that want them; `to:PROCESS`. A publication is a
head line, which tells whether the rest is of interest, and a body.

    TOPIC process offset number copies names \\n body   `copies` > 1: the same number on other channels too
    H process uptime_ms publishing_ms positions answers   how far its streams go (channel → offset), how long it could
                                                       publish them, what it was asked meanwhile (process → number)
    Q process number                                   say how far your streams go
    B process uptime_ms publishing_ms positions answers   as H, and that it has ended
    N process channel offset                           to a publisher: send again from here
    R process channel \\n publication                   to who asked: again
    G process channel offset                           what is before this offset is not kept any more
    D process channel                                  that was all for now
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection
from functools import partial

import msgspec
from redis.asyncio import Redis

from ops.metrics import RELAY
from ops.tasks import until
from realtime.relay.client import prefix_of
from realtime.relay.link import PRIVATE, Link, Listener
from realtime.relay.peers import START_WAIT_S, Peers
from realtime.relay.publication import Publication
from realtime.relay.seal import Seal
from realtime.relay.streams import Sent

ALL = "all"
BEAT_S = 1.0
TICK_S = 0.25
ECHO_LATE_S = 3.0
# Whoever was cut off from Redis as we were is back by now, and known.
STEADY_S = 3.0
CATCH_UP_S = 1.0
GATHER_S = 0.01
LOOK_EVERY_S = 0.003
_OWN_KINDS = b"HQBNRGD"

# (publishing process, its number there, names, body)
Topic = Callable[[str, int, bytes, bytes], None]


class Relay(Listener):
    """`deployment`: only processes of the same name and `seal` hear each other."""

    def __init__(self, client: Redis, deployment: str, seal: Seal) -> None:
        self.id = secrets.token_hex(6)
        self._id = self.id.encode()
        self._started_at = time.monotonic()
        self._sent = Sent()
        self._number = 0
        self._topics: dict[bytes, Topic] = {}
        self._questions = 0
        self._unanswered: dict[str, int] = {}
        self._catching_up: asyncio.Task[bool] | None = None
        self._catching_up_next: asyncio.Task[bool] | None = None
        self.peers = Peers(self.id, self._hand_on, self._ask)
        self._link = Link(client, prefix_of(deployment), seal, self, (ALL, f"{PRIVATE}{self.id}"))
        self._task: asyncio.Task[None] | None = None
        RELAY.state = lambda: (self.connected, len(self.peers), self._sent.bytes)

    @property
    def connected(self) -> bool:
        """Whether this process hears itself through Redis."""
        return time.monotonic() - self.peers.echo_at < ECHO_LATE_S

    @property
    def away(self) -> bool:
        """Redis cannot be reached: what others say does not come, and neither does what this process says go out."""
        return self._link.up_since is None

    @property
    def behind(self) -> bool:
        """Something that another process said is still to come."""
        return self.peers.behind

    @property
    def steady_since(self) -> float:
        """From then on it has listened without a break; on `time.monotonic`."""
        return self.peers.steady_since

    def hears(self, channels: Collection[str]) -> bool:
        """Whether all that is published there comes here: these are wanted, and their subscriptions confirmed."""
        return self.peers.following.issuperset(channels)

    @property
    def late(self) -> bool:
        """What is being handed on just now had to wait, or be sent again: others may have said newer things before."""
        return self.peers.late

    async def start(self) -> None:
        """Returns once it hears itself, or after START_WAIT_S without Redis, which it goes on trying to reach."""
        await self._link.start()
        self._task = asyncio.create_task(self._tick_forever(), name="relay-tick")
        await until(lambda: self.connected, START_WAIT_S, GATHER_S)
        self.peers.owed(ALL)

    async def stop(self) -> None:
        """Says all that is to be said, and that nothing more will come."""
        if self._task is not None:
            self._task.cancel()
        self._link.publish_last(ALL, partial(self._announcement, b"B"))
        await self._link.stop()

    # Out

    def send(self, topic: bytes, channels: Collection[str], names: bytes, body: bytes) -> int:
        """To the processes that want one of the channels. Returns its number among what this process sends."""
        self._number += 1
        at = time.monotonic()
        for channel in channels:
            offset = self._sent.next_offset(channel)
            head = b"%s %s %d %d %d %s\n" % (topic, self._id, offset, self._number, len(channels), names)
            self._sent.add(channel, (head, body), at)
            if len(self.peers):
                self._link.publish(channel, head, body)
        RELAY.sent += 1
        return self._number

    def _announce(self) -> None:
        self._link.publish_last(ALL, self._announcement)

    def _announcement(self, kind: bytes = b"H") -> bytes:
        """Made when it goes out: whoever begins to listen between a publication and it must not be told less."""
        at = time.monotonic()
        publishing_s = 0.0 if self._link.up_since is None else max(0.0, at - max(self._link.up_since, self.peers.since))
        positions = msgspec.json.encode(self._sent.positions())
        times = int((at - self._started_at) * 1000), int(publishing_s * 1000)
        answers, self._unanswered = msgspec.json.encode(self._unanswered), {}
        return b"%s %s %d %d %s %s\n" % (kind, self._id, *times, positions, answers)

    def _ask(self, publisher: str, channel: str, offset: int) -> None:
        RELAY.asked += 1
        question = b"N %s %s %d\n" % (self._id, channel.encode(), offset)
        self._link.publish_last(f"{PRIVATE}{publisher}", lambda: question)

    def _send_again(self, asker: str, channel: str, offset: int) -> None:
        start, entries = self._sent.since(channel, offset)
        about, name = f"{PRIVATE}{asker}", channel.encode()
        if start > offset:
            self._link.publish(about, b"G %s %s %d\n" % (self._id, name, start))
        for head, body in entries:
            self._link.publish(about, b"R %s %s\n" % (self._id, name), head, body)
        self._link.publish(about, b"D %s %s\n" % (self._id, name))
        RELAY.sent_again += len(entries)

    # In

    def on(self, topic: bytes, listener: Topic) -> None:
        """`listener` is called once for each publication of the others, a publisher's in order."""
        assert len(topic) == 1
        assert topic not in _OWN_KINDS
        self._topics[topic] = listener

    def want(self, channel: str) -> None:
        self._link.want(channel)

    def unwant(self, channel: str) -> None:
        self._link.unwant(channel)

    async def reach(self, channels: Collection[str]) -> None:
        """Returns when what others send there comes here, or cannot just now. From then on it is owed."""
        missing = [channel for channel in channels if channel not in self.peers.following]
        if missing:
            await self._link.reach(missing)
            for channel in missing:
                self.peers.owed(channel)

    def confirmed(self, channel: str) -> None:
        self.peers.follow(channel)
        self._query()

    def _query(self) -> None:
        self._questions += 1
        self._link.publish_last(ALL, self._question)
        self._announce()

    def _question(self) -> bytes:
        return b"Q %s %d\n" % (self._id, self._questions)

    async def caught_up(self) -> bool:
        """Whether everything is here that others had published before this call; they are asked, and have CATCH_UP_S.

        What a process could not publish is known by what it answers, so no answer, or too young a connection, is a no.
        """
        if self._catching_up_next is None:
            self._catching_up_next = asyncio.create_task(self._catch_up(self._catching_up), name="relay-catch-up")
        return await asyncio.shield(self._catching_up_next)

    async def _catch_up(self, before: asyncio.Task[bool] | None) -> bool:
        """One at a time, for all who wanted to know while the one before was under way."""
        if before is not None:
            await asyncio.wait((before,))
        await asyncio.sleep(GATHER_S)
        self._catching_up, self._catching_up_next = self._catching_up_next, None
        if time.monotonic() - self.peers.steady_since < STEADY_S:
            return False
        self._query()
        self.peers.asked(self._questions)
        return await until(lambda: self.peers.answered_all, CATCH_UP_S, LOOK_EVERY_S)

    def unfollowed(self, channel: str) -> None:
        self.peers.unfollow(channel)

    def lost(self) -> None:
        self.peers.lost()

    def received(self, channel: str, message: bytes) -> None:
        self.peers.received()
        kind = message[:1]
        if kind not in _OWN_KINDS:  # of whatever topic: each has its place in its stream
            self.peers.heard(channel, message)
            return
        line = message[: message.index(b"\n")]
        _, sender, *words = line.decode().split(" ", 5)
        if kind in (b"H", b"B"):
            positions, answers = msgspec.json.decode(words[2]), msgspec.json.decode(words[3])
            answered = answers.get(self.id, 0)
            self.peers.announced(sender, int(words[0]) / 1000, int(words[1]) / 1000, positions, answered)
            if kind == b"B":
                self.peers.left(sender)
        elif sender == self.id:
            if kind == b"Q":
                self.peers.came_back(int(words[0]))
        elif kind == b"R":
            self.peers.heard(words[0], message[len(line) + 1 :])
        elif kind == b"Q":
            self._unanswered[sender] = int(words[0])
            self._announce()
        elif kind == b"N":
            self._send_again(sender, words[0], int(words[1]))
        elif kind == b"G":
            self.peers.gone(sender, words[0], int(words[1]))
        elif kind == b"D":
            self.peers.answered(sender, words[0])

    def _hand_on(self, message: Publication) -> None:
        listener = self._topics.get(message.topic)
        if listener is not None:
            listener(message.process, message.number, message.names, message.body)

    async def _tick_forever(self) -> None:
        beat_at = 0.0
        while True:
            at = time.monotonic()
            if at >= beat_at:
                beat_at = at + BEAT_S
                self._sent.expire(at)
                self._announce()
            self.peers.tick(at)
            if self._link.listening and self.peers.silent(at):
                self._link.reconnect()
            await asyncio.sleep(TICK_S)
