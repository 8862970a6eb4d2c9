"""How this process reaches Redis: one server, Sentinel, or a cluster, by the same few calls.

`REDIS_URL` is what redis-py takes (`redis://`, `rediss://`, `unix://`), or `redis+sentinel://host:port,host:port/service`,
or `redis+cluster://host:port`. On a cluster channels are sharded (`SPUBLISH`, `SSUBSCRIBE`), so that a publication
burdens the node that has the channel and not all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

SOCKET_TIMEOUT_S = 5.0
SENTINEL_PORT = 26379
_PLAIN = ("message", "subscribe")
_SHARDED = ("smessage", "ssubscribe")
# How often a cluster's nodes are asked in turn whether they have something.
_CLUSTER_WAIT_S = 0.005

Client = Redis | RedisCluster


def connect(url: str, *, timeout_s: float = SOCKET_TIMEOUT_S) -> Any:
    """A client. Nothing is sent yet. Failures are not retried here: whoever calls knows what a failure means."""
    options: dict[str, Any] = {
        "socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": Retry(NoBackoff(), 0),
    }  # fmt: skip
    parts = urlsplit(url)
    if parts.scheme == "redis+cluster":
        return RedisCluster.from_url(url.replace("redis+cluster", "redis", 1), **options)
    if parts.scheme != "redis+sentinel":
        return Redis.from_url(url, **options)
    service, _, database = parts.path.strip("/").partition("/")
    hosts = [host.partition(":") for host in parts.netloc.rpartition("@")[2].split(",")]
    options |= {"db": int(database or 0), "username": unquote(parts.username or "") or None}
    options["password"] = unquote(parts.password or "") or None
    watchers: Any = [(host, int(port or SENTINEL_PORT)) for host, _, port in hosts]
    sentinel = Sentinel(watchers, socket_timeout=timeout_s)  # type: ignore[no-untyped-call]
    return sentinel.master_for(service, **options)


async def close(client: Any) -> None:
    """All its connections, those to Sentinel too, which redis-py leaves to the garbage collector."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        await pool.disconnect()
        for watcher in pool.sentinel_manager.sentinels:
            await watcher.aclose()


class Subscription(Protocol):
    """One connection that listens. It is at its end with the first error; a new one starts from nothing."""

    async def add(self, channels: Iterable[str]) -> None:
        """Begins to subscribe; `messages` yields (channel, None) when it is done."""
        ...

    async def remove(self, channels: Iterable[str]) -> None: ...
    def messages(self) -> AsyncIterator[tuple[str, bytes | None]]: ...
    async def close(self) -> None: ...


@contextlib.contextmanager
def _cut_is_an_error_of_the_connection() -> Iterator[None]:
    """What uvloop says of a socket that it closed a moment ago, and nobody has read the end of yet."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(str(error)) from error


class _Server:
    """Plain pub/sub of one server, or of the master Sentinel names."""

    def __init__(self, client: Redis) -> None:
        self._pubsub = client.pubsub()

    async def add(self, channels: Iterable[str]) -> None:
        with _cut_is_an_error_of_the_connection():
            await self._pubsub.subscribe(*channels)

    async def remove(self, channels: Iterable[str]) -> None:
        with _cut_is_an_error_of_the_connection():
            await self._pubsub.unsubscribe(*channels)

    async def messages(self) -> AsyncIterator[tuple[str, bytes | None]]:
        while True:
            message = await self._pubsub.get_message(timeout=None)
            if message is not None and message["type"] in _PLAIN:
                yield message["channel"].decode(), message["data"] if message["type"] == "message" else None

    async def close(self) -> None:
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]


class _Cluster:
    """Sharded pub/sub: a connection for each node that has one of the channels."""

    def __init__(self, client: RedisCluster) -> None:
        self._pubsub = client.pubsub()

    async def add(self, channels: Iterable[str]) -> None:
        with _cut_is_an_error_of_the_connection():
            for channel in channels:  # one by one: they have different slots
                await self._pubsub.ssubscribe(channel)

    async def remove(self, channels: Iterable[str]) -> None:
        with _cut_is_an_error_of_the_connection():
            for channel in channels:
                await self._pubsub.sunsubscribe(channel)

    async def messages(self) -> AsyncIterator[tuple[str, bytes | None]]:
        while True:
            message = await self._pubsub.get_sharded_message(timeout=0)
            if message is None:  # from any of the nodes
                await asyncio.sleep(_CLUSTER_WAIT_S)
            elif message["type"] in _SHARDED:
                yield message["channel"].decode(), message["data"] if message["type"] == "smessage" else None

    async def close(self) -> None:
        await self._pubsub.aclose()


def subscription(client: Client) -> Subscription:
    return _Cluster(client) if isinstance(client, RedisCluster) else _Server(client)


async def publish(client: Client, messages: Iterable[tuple[str, bytes]]) -> None:
    """All of them in one round trip, or on a cluster in one for each at once."""
    if isinstance(client, RedisCluster):
        sent = [client.spublish(channel, data) for channel, data in messages]
        for outcome in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        return
    async with client.pipeline(transaction=False) as pipe:
        for channel, data in messages:
            pipe.publish(channel, data)
        await pipe.execute()
