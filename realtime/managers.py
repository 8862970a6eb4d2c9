"""Client managers: how a publish reaches the connections of this process, and those of others joined by Redis.

Events that carry an `Order` pass the sequencer before they reach local connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from socketio import AsyncManager, AsyncRedisManager

from ops.metrics import ORDER_GAPS
from realtime.bus import START_WAIT_S
from realtime.ordering import Sequencer
from realtime.packets import Outgoing
from realtime.packets import event as encode_event
from realtime.publisher import Order
from realtime.rooms import Rooms


class MemoryManager(Rooms, AsyncManager):  # type: ignore[misc]
    """One process: the log publishes a conversation's messages in order, and nobody else does."""

    async def emit(
        self, event: str, data: Any, namespace: str, room: Sequence[str], skip_sid: str | None = None,
        latest: Hashable = None, order: Order | None = None,
    ) -> None:  # fmt: skip
        self.deliver(namespace, room, encode_event(namespace, event, data), skip_sid, latest)

    async def listening(self) -> None:
        """Nothing to wait for."""

    async def stop(self) -> None:
        """Nothing to stop."""


class RedisManager(Rooms, AsyncRedisManager):  # type: ignore[misc]
    """Many processes."""

    def __init__(self, url: str) -> None:
        # Without a time limit a frozen Redis would hold every publish for ten seconds.
        super().__init__(
            url, channel="parley:fanout", redis_options={"socket_timeout": 2.0, "health_check_interval": 5}
        )
        self.sequencer = Sequencer()
        ORDER_GAPS.set_function(lambda: self.sequencer.gaps)

    async def listening(self) -> None:
        """Returns once this process hears the others, or after a while without Redis.

        python-socketio subscribes with the first client, and loses what is published while it does.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_WAIT_S
        while not (self.pubsub is not None and self.pubsub.subscribed) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Ends the listener and its connections, which python-socketio leaves to the garbage collector."""
        self.thread.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.thread
        if self.pubsub is not None:
            await self.pubsub.aclose()
            await self.redis.aclose()

    async def emit(
        self, event: str, data: Any, namespace: str, room: Sequence[str], skip_sid: str | None = None,
        latest: Hashable = None, order: Order | None = None,
    ) -> None:  # fmt: skip
        packet = encode_event(namespace, event, data)
        message = {
            "method": "emit", "packet": packet.text.decode(), "namespace": namespace, "room": room,
            "skip_sid": skip_sid, "host_id": self.host_id, "latest": latest,
        }  # fmt: skip
        if order is None:
            self.deliver(namespace, room, packet, skip_sid, latest)
            await self._publish(message)
            return
        message["order"] = [order.key, order.seq, order.settled]
        async with self.sequencer.turn(order.key, order.seq, order.settled):
            self.deliver(namespace, room, packet, skip_sid, latest)
            await self._publish(message)

    async def _handle_emit(self, message: dict[str, Any]) -> None:
        """From another process."""
        order = message.get("order")
        if order is None:
            await self._deliver_remote(message)
        else:
            key, seq, settled = order
            await self.sequencer.accept(key, seq, settled, partial(self._deliver_remote, message))

    async def _deliver_remote(self, message: dict[str, Any]) -> None:
        latest = message["latest"]
        key = tuple(latest) if latest is not None else None
        packet = Outgoing(message["packet"].encode())
        self.deliver(message["namespace"], message["room"], packet, message["skip_sid"], key)
