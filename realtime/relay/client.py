"""How this process reaches Redis: one server, Sentinel, or a cluster, by the same few calls.

`REDIS_URL` is what redis-py takes (`redis://`, `rediss://`, `unix://`), or `redis+sentinel://host:port,host:port/service`,
or `redis+cluster://host:port,host:port`. On a cluster channels are sharded (`SPUBLISH`, `SSUBSCRIBE`), so that a
publication burdens the nodes of one slot and not all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from realtime.relay.slot import SlotPool

SOCKET_TIMEOUT_S = 5.0
SENTINEL_PORT = 26379
CLUSTER = "redis+cluster"


def prefix_of(deployment: str) -> str:
    """What the names of a deployment's keys and channels begin with. On a cluster it gives all of them one slot."""
    return f"{{parley:{deployment}}}:"


def connect(url: str, prefix: str, *, timeout_s: float = SOCKET_TIMEOUT_S) -> Redis:
    """A client for names with this prefix. Nothing is sent yet. Failures are not retried here: whoever calls knows what
    a failure means."""
    options: dict[str, Any] = {
        "socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": Retry(NoBackoff(), 0),
    }  # fmt: skip
    parts = urlsplit(url)
    if parts.scheme == CLUSTER:
        return Redis.from_pool(SlotPool(url, prefix, **options))
    if parts.scheme != "redis+sentinel":
        return Redis.from_url(url, **options)
    service, _, database = parts.path.strip("/").partition("/")
    hosts = [host.partition(":") for host in parts.netloc.rpartition("@")[2].split(",")]
    options |= {"db": int(database or 0), "username": unquote(parts.username or "") or None}
    options["password"] = unquote(parts.password or "") or None
    watchers: Any = [(host, int(port or SENTINEL_PORT)) for host, _, port in hosts]
    sentinel = Sentinel(watchers, socket_timeout=timeout_s)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(service, **options)
    return master


async def close(client: Redis) -> None:
    """All its connections, those to Sentinel too, which redis-py leaves to the garbage collector."""
    await client.aclose()
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        await pool.disconnect()
        for watcher in pool.sentinel_manager.sentinels:
            await watcher.aclose()


@contextlib.contextmanager
def _cut_is_an_error_of_the_connection() -> Iterator[None]:
    """What uvloop says of a socket that it closed a moment ago, and nobody has read the end of yet; and redis-py of a
    connection that whoever reads from it has closed meanwhile."""
    try:
        yield
    except (RuntimeError, AttributeError) as error:
        raise ConnectionError(str(error)) from error


def _is_sharded(client: Redis) -> bool:
    return isinstance(client.connection_pool, SlotPool)


class Subscription:
    """One connection that listens. It is at its end with the first error; a new one starts from nothing."""

    def __init__(self, client: Redis) -> None:
        self._pubsub = client.pubsub()
        self._sharded = _is_sharded(client)
        self._left: set[str] = set()  # on purpose, as the server is yet to confirm

    async def add(self, channels: Iterable[str]) -> None:
        """Begins to subscribe; `messages` yields (channel, None) when it is done."""
        with _cut_is_an_error_of_the_connection():
            await (self._pubsub.ssubscribe if self._sharded else self._pubsub.subscribe)(*channels)

    async def remove(self, channels: Iterable[str]) -> None:
        names = list(channels)
        self._left.update(names)
        with _cut_is_an_error_of_the_connection():
            await (self._pubsub.sunsubscribe if self._sharded else self._pubsub.unsubscribe)(*names)

    async def messages(self) -> AsyncIterator[tuple[str, bytes | None]]:
        while True:
            message = await self._pubsub.get_message(timeout=None)
            if message is None:
                continue
            kind, channel = message["type"], message["channel"].decode()
            if kind in ("message", "smessage"):
                yield channel, message["data"]
            elif kind in ("subscribe", "ssubscribe"):
                yield channel, None
            elif kind in ("unsubscribe", "sunsubscribe"):
                self._ended(channel)

    def _ended(self, channel: str) -> None:
        """A node ends the subscriptions of a slot that it loses, and says nothing else."""
        if channel not in self._left:
            raise ConnectionError("the slot has moved to another node of the Redis cluster")
        self._left.discard(channel)

    async def close(self) -> None:
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]


async def publish(client: Redis, messages: Iterable[tuple[str, bytes]]) -> None:
    """All of them in one round trip, in this order."""
    command = "SPUBLISH" if _is_sharded(client) else "PUBLISH"
    async with client.pipeline(transaction=False) as pipe:
        for channel, data in messages:
            pipe.execute_command(command, channel, data)
        await pipe.execute()
