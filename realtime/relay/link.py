"""The relay's connections to Redis: one that listens, and others on which everything of a moment is published together.

Nothing here remembers what was said: what could not be published, or was not heard, is the relay's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ops.metrics import RELAY
from ops.tasks import end
from realtime.relay import client as redis_client
from realtime.relay.seal import Seal

log = logging.getLogger("parley.relay")

FAILURES = (RedisError, OSError)
RETRY_MIN_S = 0.05
RETRY_MAX_S = 1.0
REACH_WAIT_S = 1.0
# A channel nobody here wants any more is listened to a little longer: people come back.
LINGER_S = 30.0
COMPLAIN_S = 60.0
PENDING_BYTES_MAX = 33_554_432
PRIVATE = "to:"  # begins the names of channels that one process alone listens to


class Listener:
    """What the link tells."""

    def received(self, channel: str, message: bytes) -> None: ...
    def confirmed(self, channel: str) -> None:
        """From here on everything sent to the channel is received."""

    def unfollowed(self, channel: str) -> None:
        """It is not listened to any more."""

    def lost(self) -> None:
        """The connection that listened has ended; another one begins with all that is wanted."""


class Link:
    """`prefix` is put before the names of channels. `up_since`: from then on all that was published got through."""

    def __init__(self, client: Redis, prefix: str, seal: Seal, listener: Listener, always: Sequence[str]) -> None:
        self._client = client
        self._prefix = prefix
        self._seal = seal
        self._complained_at = float("-inf")
        self._listener = listener
        self._wanted: dict[str, int] = dict.fromkeys(always, 1)
        self._idle_since: dict[str, float] = {}
        self._subscription: redis_client.Subscription | None = None
        self._subscribed: set[str] = set()  # asked for on this connection
        self._reached: dict[str, asyncio.Future[None]] = {}
        self._pending: dict[str, list[bytes]] = {}
        self._pending_bytes = 0
        self._last: dict[tuple[str, Callable[[], bytes]], None] = {}
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._following_task: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.up_since: float | None = None

    async def start(self) -> None:
        for work in (self._listen_forever(), self._publish_forever(), self._subscribe_forever()):
            self._tasks.append(asyncio.create_task(work, name="relay"))

    async def stop(self) -> None:
        """Publishes what is still to be published."""
        await end(*self._tasks)
        await end(self._following_task)
        with contextlib.suppress(*FAILURES):
            await self._publish()
        await redis_client.close(self._client)

    # Out

    def publish(self, channel: str, *parts: bytes) -> None:
        """A message, made of these parts; nothing at all while Redis is away."""
        if self.up_since is None:
            return
        size = sum(map(len, parts))
        self._pending.setdefault(channel, []).extend((size.to_bytes(4, "big"), *parts))
        self._pending_bytes += size
        if self._pending_bytes > PENDING_BYTES_MAX:
            self._drop_pending()
            self.up_since = time.monotonic()
        self._wake.set()

    def publish_last(self, channel: str, message: Callable[[], bytes]) -> None:
        """Behind everything of the moment, because it speaks of it; tried without Redis too.

        `message` makes it then, and the same `message` is one, however often it was to be published until then.
        """
        self._last[channel, message] = None
        self._wake.set()

    def _drop_pending(self) -> None:
        self._pending, self._pending_bytes = {}, 0

    async def _publish_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._publish()
                if self.up_since is None:
                    log.info("Redis is there: what others missed is sent when they ask for it")
                    self.up_since = time.monotonic()
            except Exception as error:  # whatever it is, the next attempt may succeed
                if not isinstance(error, FAILURES):
                    log.exception("publishing failed")
                if self.up_since is not None:
                    log.warning("cannot publish, other processes will ask for it later: %s", error)
                self.up_since = None
                self._drop_pending()

    async def _publish(self) -> None:
        pending, last = self._pending, [(channel, make()) for channel, make in self._last]
        self._drop_pending()
        self._last = {}
        # What is for one process alone goes behind what is for many: an answer to it may speak of that.
        ordered = sorted(pending.items(), key=lambda item: item[0].startswith(PRIVATE))
        messages = [self._sealed(channel, b"".join(parts)) for channel, parts in ordered]
        lasts = [self._sealed(channel, len(message).to_bytes(4, "big") + message) for channel, message in last]
        for some in (messages, lasts):
            if some:
                RELAY.publishes += len(some)
                await redis_client.publish(self._client, some)

    def _sealed(self, channel: str, messages: bytes) -> tuple[str, bytes]:
        name = self._prefix + channel
        return name, self._seal.close(name, messages)

    # In

    @property
    def listening(self) -> bool:
        return self._subscription is not None

    def want(self, channel: str) -> None:
        """Each want is ended by an `unwant`."""
        count = self._wanted.get(channel, 0)
        self._wanted[channel] = count + 1
        if count == 0:
            self._idle_since.pop(channel, None)
            if channel not in self._subscribed:
                self._changed.set()

    def unwant(self, channel: str) -> None:
        self._wanted[channel] -= 1
        if not self._wanted[channel]:
            del self._wanted[channel]
            self._idle_since[channel] = time.monotonic()

    async def reach(self, channels: Collection[str]) -> None:
        """Waits until these, which are wanted, are confirmed; a moment at most, and not without Redis."""
        if self._subscription is not None:
            loop = asyncio.get_running_loop()
            waiting = [self._reached.setdefault(channel, loop.create_future()) for channel in channels]
            await asyncio.wait(waiting, timeout=REACH_WAIT_S)

    def reconnect(self) -> None:
        if self._following_task is not None:
            self._following_task.cancel()

    async def _listen_forever(self) -> None:
        wait_s = RETRY_MIN_S
        while True:
            started = time.monotonic()
            self._following_task = asyncio.create_task(self._follow(), name="relay-follow")
            await asyncio.wait((self._following_task,))
            error = None if self._following_task.cancelled() else self._following_task.exception()
            if error is not None and not isinstance(error, FAILURES):
                log.error("listening to Redis failed", exc_info=error)
            wait_s = RETRY_MIN_S if time.monotonic() - started > RETRY_MAX_S else min(wait_s * 2, RETRY_MAX_S)
            log.warning("cannot listen to Redis, trying again in %.2f s: %s", wait_s, error)
            await asyncio.sleep(wait_s)

    async def _follow(self) -> None:
        """One connection's life."""
        subscription = redis_client.Subscription(self._client)
        try:
            self._subscribed = {*self._wanted, *self._idle_since}
            await subscription.add([self._prefix + channel for channel in self._subscribed])
            self._subscription = subscription
            self._changed.set()  # by what was wanted meanwhile
            async for name, data in subscription.messages():
                channel = name.removeprefix(self._prefix)
                if data is None:
                    self._confirmed(channel)
                elif (messages := self._seal.open(name, data)) is not None:
                    self._receive(channel, messages)
                else:
                    self._refuse(channel)
        finally:
            self._subscription = None
            self._subscribed = set()
            self._listener.lost()
            with contextlib.suppress(*FAILURES):
                await subscription.close()

    def _confirmed(self, channel: str) -> None:
        waiting = self._reached.pop(channel, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        self._listener.confirmed(channel)

    def _refuse(self, channel: str) -> None:
        RELAY.forged += 1
        at = time.monotonic()
        if at - self._complained_at > COMPLAIN_S:
            self._complained_at = at
            log.warning(
                "what came on channel %s of Redis is of no process of this deployment and was dropped, %d so far: "
                "someone else writes there, or a process has another JWT_SECRET", channel, RELAY.forged,
            )  # fmt: skip

    def _receive(self, channel: str, data: bytes) -> None:
        at, size = 0, len(data)
        while at < size:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            try:
                self._listener.received(channel, data[at + 4 : end])
            except Exception:  # what one message does must not keep the others from arriving
                log.exception("a message on %s could not be understood", channel)
            at = end

    async def _subscribe_forever(self) -> None:
        """Listens to channels that are wanted meanwhile, and no longer to those that were not for a while."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S / 3):
                    await self._changed.wait()
            self._changed.clear()
            if self._subscription is None:
                continue
            subscription = self._subscription
            try:
                await self._adjust(subscription)
            except Exception as error:  # whatever it is, the next connection begins with all that is wanted
                if not isinstance(error, FAILURES):
                    log.exception("listening to more, or to less, failed")
                if self._subscription is subscription:
                    self.reconnect()

    async def _adjust(self, subscription: redis_client.Subscription) -> None:
        new = [channel for channel in self._wanted if channel not in self._subscribed]
        if new:
            self._subscribed.update(new)
            await subscription.add([self._prefix + channel for channel in new])
        late = time.monotonic() - LINGER_S
        old = [channel for channel, since in self._idle_since.items() if since < late]
        for channel in old:
            del self._idle_since[channel]
            self._subscribed.discard(channel)
            self._listener.unfollowed(channel)
        if old and self._subscription is subscription:
            await subscription.remove([self._prefix + channel for channel in old])
