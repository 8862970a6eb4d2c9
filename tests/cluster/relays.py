"""Relays of several processes in one, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

from realtime.relay import client
from realtime.relay.relay import Relay
from realtime.relay.seal import Seal
from tests.support import until

TOPIC = b"T"


class End:
    """One process's relay, and what it heard as (from, body)."""

    def __init__(self, url: str, deployment: str, *keys: bytes) -> None:
        self.deployment = deployment
        connection = client.connect(url, client.prefix_of(deployment), timeout_s=2.0)
        self.relay = Relay(connection, deployment, Seal(keys or (b"a key of the tests",)))
        self.heard: list[tuple[str, str]] = []
        self.uncertain: list[float] = []
        self.relay.on(TOPIC, lambda process, number, names, body: self.heard.append((process, body.decode())))
        self.relay.peers.uncertain.append(self.uncertain.append)

    @property
    def bodies(self) -> list[str]:
        return [body for _, body in self.heard]

    def ready(self, others: int) -> bool:
        return len(self.relay.peers) == others and self.relay.peers.following >= {"1", "2"}

    def send(self, text: str, *channels: str) -> None:
        self.relay.send(TOPIC, channels, b"*", text.encode())

    async def crash(self) -> None:
        """Ends without a word, as kill -9 does."""
        link = self.relay._link
        for task in (self.relay._task, link._following_task, *link._tasks):
            assert task is not None
            task.cancel()
        await asyncio.sleep(0.05)
        await client.close(link._client)


async def cut_off() -> None:
    """In place of a link's `_publish`: this process alone cannot reach Redis."""
    raise ConnectionError("no way to Redis")


@contextlib.asynccontextmanager
async def ends(url: str, count: int = 2) -> AsyncIterator[list[End]]:
    deployment = f"t_{secrets.token_hex(4)}"
    made = [End(url, deployment) for _ in range(count)]
    for end in made:
        end.relay.want("1")
        end.relay.want("2")
        await end.relay.start()
    await until(lambda: all(end.ready(count - 1) for end in made))
    yield made
    for end in made:
        await end.relay.stop()
